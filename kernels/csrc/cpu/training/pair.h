// Depthwise 3×3, pointwise, batch norm: in strips of rows. What lies between the two convolutions is never kept: the
// backward pass computes it again.

template <class T>
struct Pair {
  int inputs = 0, width = 0, stride = 1;  // width: padded inputs
  int in_height, in_width, height, columns, strip;
  int64_t depthwise_weight;
  Pointwise<T> point;
  T *taps, *flipped;
  int* spread;  // where the gradient of a strip's depthwise outputs goes, see `backward`

  void place(Layout& at, Pieces& memory, int in, int out, int s, int h, int w) {
    inputs = in, width = padded<T>(in), stride = s, in_height = h, in_width = w;
    height = (h - 1) / s + 1, columns = (w - 1) / s + 1;
    strip = strip_rows(height, columns, most(in, out));
    depthwise_weight = at.parameter();
    point.place(at, memory, in, out);
    taps = take<T>(memory, 9 * width), flipped = take<T>(memory, 9 * width);
    spread = take<int>(memory, strip * columns);
  }
  void fill_tables() {
    const long row = padded_row();
    fill_offsets(spread, strip, columns, stride * row, static_cast<long>(stride) * width, 2 * row + width);
  }
  long padded_row() const { return (in_width + 2L) * width; }
  int strip_inputs(int rows) const { return (rows - 1) * stride + 3; }
  size_t weights() const { return point.weights() + 9 * width; }

  void prepare(const Run<T>& run) {
    const T* k = run.parameters + depthwise_weight;
    for (int c = 0; c < inputs; ++c)
      for (int t = 0; t < 9; ++t) taps[t * width + c] = flipped[(8 - t) * width + c] = k[c * 9 + t];
    point.prepare(run);
  }

  // One image: y, and its moments added to sums. in: a map, through `norm` and ReLU where one is given.
  void forward(const T* in, const Norm<T>* norm, T* y, double* sums, Pieces scratch) const {
    T* rows = take<T>(scratch, strip_inputs(strip) * padded_row());
    T* middle = take<T>(scratch, static_cast<size_t>(strip) * columns * width);
    T* moments = point.moments(scratch, strip * columns);
    for (int first = 0; first < height; first += strip) {
      const int count = least(strip, height - first), pixels = count * columns;
      convolve(in, norm, first, count, rows, middle);
      point.forward(middle, pixels, y + static_cast<long>(first) * columns * point.out_width, sums, moments);
    }
  }

  // One image: from g at the norm's output (times `factor`) to the gradient of `in`. With `norm`, that is g_in = the
  // gradient at its output with sums added to `sums`; without, it is added to g_in. part: the weights' gradients.
  //
  // A pixel's gradient needs the next row's outputs, so the rows of g_in come one row behind; two rows of the depthwise
  // outputs' gradient, spread as the stride says with zeros between, are carried from strip to strip.
  void backward(const T* in, const Norm<T>* norm, const T* g, T factor, const T* y, T* g_in, double* sums, T* part,
                Pieces scratch) const {
    const long row = padded_row();
    const int spread_rows = stride * strip + 3;
    T *rows = take<T>(scratch, strip_inputs(strip) * row), *spread_g = take<T>(scratch, spread_rows * row);
    T* middle = take<T>(scratch, static_cast<size_t>(strip) * columns * width);
    T* dy = take<T>(scratch, static_cast<size_t>(strip) * columns * point.out_width);
    T* g_sums = take<T>(scratch, 2 * width);
    __builtin_memset(spread_g, 0, spread_rows * row * sizeof(T));
    for (int first = 0; first < height; first += strip) {
      const int count = least(strip, height - first), pixels = count * columns, top = stride * first;
      const long at = static_cast<long>(first) * columns * point.out_width;
      const bool last = first + count == height;
      const Windows<T> seen = convolve(in, norm, first, count, rows, middle);
      point.norm.gradient(dy, g + at, y + at, pixels, factor);
      if (last) {
        const int used = 2 + stride * count;
        __builtin_memset(spread_g + used * row, 0, (spread_rows - used) * row * sizeof(T));
      }
      point.backward(dy, middle, pixels, part, Put<T>{spread_g, spread});
      T* tap_part = part + point.weights();
      if (stride == 1)
        tap_gradients<T, 1>(seen, spread_g + 2 * row + width, row, tap_part);
      else
        tap_gradients<T, 2>(seen, spread_g + 2 * row + width, 2 * row, tap_part);
      const int from = most(top - 1, 0), to = last ? in_height : top + stride * count - 1;
      const Windows<T> back{spread_g + (from - top + 1) * row, row, to - from, in_width, width, 1};
      __builtin_memset(g_sums, 0, 2 * width * sizeof(T));
      input_gradient(back, norm, in + static_cast<long>(from) * in_width * width,
                     g_in + static_cast<long>(from) * in_width * width, g_sums);
      if (norm) add_sums(sums, g_sums, 2 * width);
      if (!last) __builtin_memcpy(spread_g, spread_g + stride * count * row, 2 * row * sizeof(T));
    }
  }

  void write(const Run<T>& run, const T* part) const {
    point.write(run, part);
    T* k = run.gradient + depthwise_weight;
    part += point.weights();
    for (int c = 0; c < inputs; ++c)
      for (int t = 0; t < 9; ++t) k[c * 9 + t] = part[t * width + c];
  }

 private:
  Windows<T> convolve(const T* in, const Norm<T>* norm, int first, int count, T* rows, T* middle) const {
    padded_rows(rows, in, first * stride - 1, strip_inputs(count), in_height, in_width, width, norm);
    const Windows<T> seen{rows, padded_row(), count, columns, width, stride};
    depthwise(seen, taps, WindowPut<T>{middle});
    return seen;
  }
  void input_gradient(const Windows<T>& back, const Norm<T>* norm, const T* in, T* g_in, T* g_sums) const {
    if (norm)
      windows<T, 1>(back, flipped,
                    WindowMasked<T>{g_in, in, norm->scale, norm->shift, norm->mean, g_sums, width, {}, {}, {}, {}, {}});
    else
      windows<T, 1>(back, flipped, WindowAdd<T>{g_in});
  }
};
