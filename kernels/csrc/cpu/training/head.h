// The head: from the coarsest scale on, halve the channels, double the size, add what arrived; then a 1×1 convolution
// and a 3×3 one with bias to the classes.

template <class T>
struct Head {
  int scales, channels, width, classes, class_width, height, columns, strip, images;
  Pointwise<T> narrow[kScales - 1], fuse;
  int64_t weight, bias;
  T *forwards, *backwards, *bias_values;
  T *feature[kScales], *g_feature[kScales];  // what arrived, later the sum; its gradient
  bool arrived[kScales] = {};
  T *y_narrow[kScales - 1], *g_narrow[kScales - 1], *y_fuse, *g_fuse, *g_logits;
  int* dense[kScales];

  int rows_at(int s) const { return height >> s; }
  int columns_at(int s) const { return columns >> s; }
  long pixels(int s) const { return static_cast<long>(rows_at(s)) * columns_at(s); }
  int width_at(int s) const { return padded<T>(channels << s); }
  int strip_at(int s) const { return strip_rows(rows_at(s), columns_at(s), channels << s); }
  size_t predictor_weights() const { return static_cast<size_t>(classes) * 9 * width + class_width; }

  void place(Layout& l, Pieces& memory, const Shape& shape, int h, int w) {
    images = shape.images, scales = shape.head_scales, channels = shape.channels, width = padded<T>(channels);
    classes = shape.classes, class_width = padded<T>(classes), height = h, columns = w;
    strip = strip_rows(h, w, channels);
    for (int s = 0; s < scales; ++s) {
      feature[s] = take<T>(memory, images * pixels(s) * width_at(s)),
      g_feature[s] = take<T>(memory, images * pixels(s) * width_at(s));
      dense[s] = take<int>(memory, strip_at(s) * columns_at(s));
    }
    for (int s = 0; s < scales - 1; ++s) {
      narrow[s].place(l, memory, channels << (s + 1), channels << s);
      y_narrow[s] = take<T>(memory, images * pixels(s + 1) * width_at(s));
      g_narrow[s] = take<T>(memory, images * pixels(s + 1) * width_at(s));
    }
    fuse.place(l, memory, channels, channels);
    for (T** one : {&y_fuse, &g_fuse}) *one = take<T>(memory, images * pixels(0) * width);
    g_logits = take<T>(memory, images * pixels(0) * class_width);
    weight = l.parameter(), bias = l.parameter();
    forwards = take<T>(memory, 9ul * class_width * width), backwards = take<T>(memory, 9ul * class_width * width);
    bias_values = take<T>(memory, class_width);
  }
  void needs(Run<T>& run) const {
    for (int s = 0; s < scales - 1; ++s) run.needs(narrow[s].norm.sums(), narrow[s].weights());
    run.needs(2 * width, predictor_weights()), run.needs(0, fuse.weights());
  }
  void fill_tables() {
    for (int s = 0; s < scales; ++s)
      fill_offsets(dense[s], strip_at(s), columns_at(s), static_cast<long>(columns_at(s)) * width_at(s), width_at(s),
                   0);
  }

  // logits: images × positions × classes.
  void forward(Run<T>& run, T* logits) {
    for (int s = 0; s < scales; ++s)
      if (!arrived[s]) __builtin_memset(feature[s], 0, images * pixels(s) * width_at(s) * sizeof(T));
    for (int s = scales - 2; s >= 0; --s) {
      convolve(run, narrow[s], s + 1, y_narrow[s]);
      over_images(run, s + 1, 0, 0, [&](int n, double*, T*, Pieces scratch) {
        send_enlarged(sending(s, n), feature[s] + n * pixels(s) * width_at(s), false, scratch);
      });
    }
    convolve(run, fuse, 0, y_fuse);
    prepare(run);
    over_images(run, 0, 0, 0, [&](int n, double*, T*, Pieces scratch) { predict(n, logits, scratch); });
  }

  // Leaves the gradients of what arrived in g_feature.
  void backward(Run<T>& run, const T* given) {
    over_images(run, 0, 2 * width, predictor_weights(),
                [&](int n, double* sums, T* part, Pieces scratch) { unpredict(n, given, sums, part, scratch); });
    fuse.norm.backward(run, run.sums);
    write_predictor(run);
    unconvolve(run, fuse, 0, y_fuse, g_fuse);
    for (int s = 0; s < scales - 1; ++s) {
      over_images(run, s + 1, narrow[s].norm.sums(), 0, [&](int n, double* sums, T*, Pieces scratch) {
        receive_enlarged(sending(s, n), g_feature[s] + n * pixels(s) * width_at(s),
                         g_narrow[s] + n * pixels(s + 1) * width_at(s), sums, scratch);
      });
      narrow[s].norm.backward(run, run.sums);
      unconvolve(run, narrow[s], s + 1, y_narrow[s], g_narrow[s]);
    }
  }

 private:
  Sending<T> sending(int s, int n) const {
    return Sending<T>{y_narrow[s] + n * pixels(s + 1) * width_at(s), &narrow[s].norm, T(1), rows_at(s + 1),
                      columns_at(s + 1)};
  }

  // A pointwise convolution of the features at a scale, in strips.
  void convolve(Run<T>& run, Pointwise<T>& point, int s, T* y) {
    point.prepare(run);
    over_images(run, s, point.norm.sums(), 0, [&](int n, double* sums, T*, Pieces scratch) {
      T* moments = point.moments(scratch, strip_at(s) * columns_at(s));
      strips(n, s, [&](long first, int count) {
        point.forward(feature[s] + first * width_at(s), count, y + first * point.out_width, sums, moments);
      });
    });
    point.norm.forward(run, run.sums, double(images) * pixels(s));
  }
  void unconvolve(Run<T>& run, Pointwise<T>& point, int s, const T* y, const T* g) {
    over_images(run, s, 0, point.weights(), [&](int n, double*, T* part, Pieces scratch) {
      T* dy = take<T>(scratch, static_cast<size_t>(strip_at(s)) * columns_at(s) * point.out_width);
      strips(n, s, [&](long first, int count) {
        point.norm.gradient(dy, g + first * point.out_width, y + first * point.out_width, count, T(1));
        point.backward(dy, feature[s] + first * width_at(s), count, part,
                       Put<T>{g_feature[s] + first * width_at(s), dense[s]});
      });
    });
    point.write(run, run.weights);
  }
  // each(first pixel among all images', pixels)
  template <class F>
  void strips(int n, int s, F each) const {
    for (int row = 0; row < rows_at(s); row += strip_at(s))
      each(n * pixels(s) + static_cast<long>(row) * columns_at(s),
           least(strip_at(s), rows_at(s) - row) * columns_at(s));
  }

  // The predictor's weights lie (class, row, column, channel). Its three columns are one run of 3·width inputs.
  void prepare(const Run<T>& run) const {
    const T* w = run.parameters + weight;
    T* o = forwards;
    for (int k = 0; k < class_width; k += 2 * LANES<T>)
      for (int tap = 0; tap < 9; ++tap)
        for (int c = 0; c < width; ++c)
          for (int j = 0; j < least(2 * LANES<T>, class_width - k); ++j)
            *o++ = k + j < classes && c < channels ? w[((k + j) * 9 + tap) * channels + c] : T(0);
    o = backwards;
    for (int c = 0; c < width; c += 2 * LANES<T>)
      for (int tap = 8; tap >= 0; --tap)
        for (int k = 0; k < class_width; ++k)
          for (int j = 0; j < least(2 * LANES<T>, width - c); ++j)
            *o++ = k < classes && c + j < channels ? w[(k * 9 + tap) * channels + c + j] : T(0);
    __builtin_memset(bias_values, 0, class_width * sizeof(T));
    __builtin_memcpy(bias_values, run.parameters + bias, classes * sizeof(T));
  }

  void predict(int n, T* logits, Pieces scratch) const {
    const long row = (columns + 2L) * width;
    T *rows = take<T>(scratch, (strip + 2) * row), *y = take<T>(scratch, static_cast<size_t>(columns) * class_width);
    for (int first = 0; first < height; first += strip) {
      const int count = least(strip, height - first);
      padded_rows(rows, y_fuse + n * pixels(0) * width, first - 1, count + 2, height, columns, width, &fuse.norm);
      for (int r = 0; r < count; ++r) {
        product(Product<T>{rows + r * row, width, columns, 3 * width, class_width, forwards, 3, row},
                PutBias<T>{y, class_width, bias_values});
        T* to = logits + (n * pixels(0) + static_cast<long>(first + r) * columns) * classes;
        for (int j = 0; j < columns; ++j) __builtin_memcpy(to + j * classes, y + j * class_width, classes * sizeof(T));
      }
    }
  }

  void unpredict(int n, const T* given, double* sums, T* part, Pieces scratch) const {
    const long row = (columns + 2L) * width, class_row = (columns + 2L) * class_width;
    T *rows = take<T>(scratch, (strip + 2) * row), *padded_g = take<T>(scratch, (strip + 2) * class_row);
    T* g_sums = take<T>(scratch, 2 * width);
    T* own = g_logits + n * pixels(0) * class_width;
    __builtin_memset(own, 0, pixels(0) * class_width * sizeof(T));
    for (long p = 0; p < pixels(0); ++p)
      __builtin_memcpy(own + p * class_width, given + (n * pixels(0) + p) * classes, classes * sizeof(T));
    for (int first = 0; first < height; first += strip) {
      const int count = least(strip, height - first);
      const long at = n * pixels(0) + static_cast<long>(first) * columns;
      padded_rows(rows, y_fuse + n * pixels(0) * width, first - 1, count + 2, height, columns, width, &fuse.norm);
      padded_rows(padded_g, own, first - 1, count + 2, height, columns, class_width,
                  static_cast<const Norm<T>*>(nullptr));
      for (int r = 0; r < count; ++r) {
        const T* g = g_logits + (at + r * columns) * class_width;
        for (int y = 0; y < 3; ++y)
          outer(Outer<T>{g, class_width, classes, rows + (r + y) * row, width, 3 * width, columns, part + y * 3 * width,
                         9L * width});
        product(
            Product<T>{padded_g + r * class_row, class_width, columns, 3 * class_width, width, backwards, 3, class_row},
            Put<T>{g_fuse + (at + r * columns) * width, dense[0]});
      }
      bias_gradient(g_logits + at * class_width, count * columns, part + 9L * width * classes);
      masked(g_fuse + at * width, y_fuse + at * width, count * columns, g_sums);
      add_sums(sums, g_sums, 2 * width);
    }
  }
  void bias_gradient(const T* g, int count, T* part) const {
    for (int c = 0; c < class_width; c += LANES<T>) {
      V<T> sum = load(part + c);
      for (int p = 0; p < count; ++p) sum += load(g + static_cast<long>(p) * class_width + c);
      store(part + c, sum);
    }
  }
  // g where fuse's output is above 0, and its sums.
  void masked(T* g, const T* y, int count, T* g_sums) const {
    WindowMasked<T> mask{g, y, fuse.norm.scale, fuse.norm.shift, fuse.norm.mean, g_sums, width, {}, {}, {}, {}, {}};
    __builtin_memset(g_sums, 0, 2 * width * sizeof(T));
    for (int c = 0; c < width; c += LANES<T>) {
      mask.begin(c);
      for (long p = c; p < static_cast<long>(count) * width; p += width) mask.put(p, load(g + p));
      mask.end(c);
    }
  }
  void write_predictor(const Run<T>& run) const {
    T* w = run.gradient + weight;
    for (int k = 0; k < classes * 9; ++k)
      __builtin_memcpy(w + k * channels, run.weights + k * width, channels * sizeof(T));
    __builtin_memcpy(run.gradient + bias, run.weights + 9L * width * classes, classes * sizeof(T));
  }
};
