// The stem: 3×3 convolution of stride 2 without padding, then two pairs, the second of stride 2.

template <class T>
struct Stem {
  int height, width, rows, columns, images;  // of the padded image; of the first convolution's map
  double mean[3];
  int64_t weight;
  Norm<T> norm;
  T* packed;
  Pair<T> first, second;
  T *pixels, *y0, *y1, *y2, *g0, *g1, *g2;
  static constexpr int RUN = 9;  // elements of a window's row

  long image_size() const { return 3L * height * width + LANES<T> * 4; }  // weights' gradients read whole vectors
  long map(int n) const { return static_cast<long>(n) * rows * columns * norm.width; }
  long out(int n) const { return static_cast<long>(n) * second.height * second.columns * second.point.out_width; }
  int part_width() const { return 3 * padded<T>(RUN); }

  void place(Layout& l, Pieces& memory, int n, int middle, int channels, int h, int w) {
    images = n, height = h, width = w, rows = (h - 3) / 2 + 1, columns = (w - 3) / 2 + 1;
    weight = l.parameter();
    norm.place(l, memory, middle);
    packed = take<T>(memory, static_cast<size_t>(norm.width) * 3 * RUN);
    first.place(l, memory, middle, middle, 1, rows, columns),
        second.place(l, memory, middle, channels, 2, rows, columns);
    pixels = take<T>(memory, n * image_size());
    for (T** one : {&y0, &y1, &g0, &g1}) *one = take<T>(memory, map(n));
    y2 = take<T>(memory, out(n)), g2 = take<T>(memory, out(n));
  }
  void needs(Run<T>& run) const {
    run.needs(2 * norm.width, static_cast<size_t>(norm.channels) * part_width());
    run.needs(2 * second.point.out_width, first.weights());
    run.needs(0, second.weights());
  }
  void fill_tables() { first.fill_tables(), second.fill_tables(); }

  // to: the initial cell's map.
  void forward(Run<T>& run, const Images& given, int given_height, int given_width, T* to) {
    pack(run.parameters + weight, 3 * RUN, 1, norm.channels, 3 * RUN, packed);
    first.prepare(run), second.prepare(run);
    over_images(run, 0, 2 * norm.width, 0, [&](int n, double* sums, T*, Pieces scratch) {
      read(given, given_height, given_width, n);
      convolve(n, sums, scratch);
    });
    norm.forward(run, run.sums, double(images) * rows * columns);
    over_images(run, 0, 2 * norm.width, 0, [&](int n, double* sums, T*, Pieces scratch) {
      first.forward(y0 + map(n), &norm, y1 + map(n), sums, scratch);
    });
    first.point.norm.forward(run, run.sums, double(images) * rows * columns);
    over_images(run, 0, 2 * second.point.out_width, 0, [&](int n, double* sums, T*, Pieces scratch) {
      second.forward(y1 + map(n), &first.point.norm, y2 + out(n), sums, scratch);
    });
    second.point.norm.forward(run, run.sums, double(images) * second.height * second.columns);
    over_images(run, 0, 0, 0, [&](int n, double*, T*, Pieces) { send(sending(n), to + out(n), true); });
  }

  void backward(Run<T>& run, const T* from) {
    over_images(run, 0, 2 * second.point.out_width, 0, [&](int n, double* sums, T*, Pieces scratch) {
      receive(sending(n), from + out(n), g2 + out(n), sums, scratch);
    });
    second.point.norm.backward(run, run.sums);
    over_images(run, 0, 2 * norm.width, second.weights(), [&](int n, double* sums, T* part, Pieces scratch) {
      second.backward(y1 + map(n), &first.point.norm, g2 + out(n), T(1), y2 + out(n), g1 + map(n), sums, part, scratch);
    });
    first.point.norm.backward(run, run.sums), second.write(run, run.weights);
    over_images(run, 0, 2 * norm.width, first.weights(), [&](int n, double* sums, T* part, Pieces scratch) {
      first.backward(y0 + map(n), &norm, g1 + map(n), T(1), y1 + map(n), g0 + map(n), sums, part, scratch);
    });
    norm.backward(run, run.sums), first.write(run, run.weights);
    over_images(run, 0, 0, static_cast<size_t>(norm.channels) * part_width(),
                [&](int n, double*, T* part, Pieces scratch) { weights(n, part, scratch); });
    for (int m = 0; m < norm.channels; ++m)
      for (int y = 0; y < 3; ++y)
        __builtin_memcpy(run.gradient + weight + (m * 3 + y) * RUN, run.weights + m * part_width() + y * padded<T>(RUN),
                         RUN * sizeof(T));
  }

 private:
  Sending<T> sending(int n) const {
    return Sending<T>{y2 + out(n), &second.point.norm, T(1), second.height, second.columns};
  }

  // The image without its mean, padded with zeros.
  void read(const Images& given, int given_height, int given_width, int n) const {
    T* o = pixels + n * image_size();
    for (int i = 0; i < height; ++i)
      for (int j = 0; j < width; ++j, o += 3)
        for (int c = 0; c < 3; ++c) {
          const int64_t at = n * given.stride[0] + c * given.stride[1] + i * given.stride[2] + j * given.stride[3];
          if (i >= given_height || j >= given_width)
            o[c] = 0;
          else
            o[c] = (given.bytes ? T(static_cast<const uint8_t*>(given.pixels)[at])
                                : static_cast<const T*>(given.pixels)[at]) -
                   T(mean[c]);
        }
  }

  const T* window(int n, int row) const { return pixels + n * image_size() + 2L * row * width * 3; }

  void convolve(int n, double* sums, Pieces scratch) const {
    T* moments = take<T>(scratch, 3ul * norm.width * moment_blocks(columns));
    for (int i = 0; i < rows; ++i) {
      const Product<T> p{window(n, i), 6, columns, RUN, norm.width, packed, 3, 3L * width};
      product(
          p, PutMoments<T>{y0 + map(n) + static_cast<long>(i) * columns * norm.width, norm.width, moments, norm.width});
      add_moments(sums, moments, norm.width, columns);
    }
  }
  void weights(int n, T* part, Pieces scratch) const {
    T* dy = take<T>(scratch, static_cast<size_t>(columns) * norm.width);
    for (int i = 0; i < rows; ++i) {
      const long at = map(n) + static_cast<long>(i) * columns * norm.width;
      norm.gradient(dy, g0 + at, y0 + at, columns, T(1));
      for (int y = 0; y < 3; ++y)
        outer(Outer<T>{dy, norm.width, norm.channels, window(n, i) + y * 3L * width, 6, padded<T>(RUN), columns,
                       part + y * padded<T>(RUN), part_width()});
    }
  }
};
