// Batch norm over images and positions, and the pointwise convolution before it.
//
// The maps hold what the convolution gives; scale and shift are applied where a map is read. Backward, the gradient at
// the convolution's output is A·g + B·y + D of the gradient g at the norm's, by channel.

// Where tensors begin in the flat buffers, taken in order.
struct Layout {
  const int64_t *parameters, *statistics;
  int64_t parameter() { return *parameters++; }
  int64_t statistic() { return *statistics++; }
};

template <class T>
struct Norm {
  int channels = 0, width = 0;  // width: padded channels
  int64_t weight, bias, running_mean, running_var;
  T *scale, *shift, *mean, *A, *B, *D;
  double *inverse, *exact_mean, count = 0;

  void place(Layout& at, Pieces& memory, int c) {
    channels = c, width = padded<T>(c);
    weight = at.parameter(), bias = at.parameter();
    running_mean = at.statistic(), running_var = at.statistic();
    for (T** one : {&scale, &shift, &mean, &A, &B, &D}) *one = take<T>(memory, width);
    inverse = take<double>(memory, width), exact_mean = take<double>(memory, width);
  }

  int sums() const { return 2 * width; }

  // sums: Σ y and Σ y² by channel, of `values` each.
  void forward(Run<T>& run, const double* sums, double values) {
    count = values;
    const T *g = run.parameters + weight, *b = run.parameters + bias;
    T *kept_mean = run.statistics + running_mean, *kept_var = run.statistics + running_var;
    const double keep = 1 - run.momentum;
    for (int c = 0; c < channels; ++c) {
      const double mu = sums[c] / count, square = sums[width + c] / count - mu * mu;
      const double variance = square < 0 ? 0 : square;  // a NaN stays one
      inverse[c] = 1 / __builtin_sqrt(variance + run.epsilon), exact_mean[c] = mu;
      mean[c] = T(mu), scale[c] = T(g[c] * inverse[c]), shift[c] = T(b[c] - mu * g[c] * inverse[c]);
      kept_mean[c] = T(keep * kept_mean[c] + run.momentum * mu);
      kept_var[c] = T(keep * kept_var[c] + run.momentum * (variance * (count / (count - 1))));
    }
  }

  // sums: Σ g and Σ g·(y - mean) by channel, the mean as rounded to T.
  void backward(Run<T>& run, const double* sums) {
    const T* g = run.parameters + weight;
    T *dg = run.gradient + weight, *db = run.gradient + bias;
    for (int c = 0; c < channels; ++c) {
      const double gi = g[c] * inverse[c], second = sums[width + c] + (double(mean[c]) - exact_mean[c]) * sums[c];
      const double slope = -gi * inverse[c] * inverse[c] * second / count;
      dg[c] = T(inverse[c] * second), db[c] = T(sums[c]);
      A[c] = T(gi), B[c] = T(slope), D[c] = T(-gi * sums[c] / count - slope * exact_mean[c]);
    }
  }

  // dy = A·factor·g + B·y + D
  void gradient(T* dy, const T* g, const T* y, long pixels, T factor) const {
    for (int c = 0; c < width; c += LANES<T>) {
      const V<T> a = load(A + c) * factor, b = load(B + c), d = load(D + c);
      for (long p = c; p < pixels * width; p += width) store(dy + p, fma(load(g + p), a, fma(load(y + p), b, d)));
    }
  }
};

// Adds a strip's moments (see PutMoments) to Σ y and Σ y².
template <class T>
static void add_moments(double* sums, const T* moments, int width, int pixels) {
  for (; pixels > 0; pixels -= MOMENT_BLOCK, moments += 3 * width) {
    const double count = least(pixels, MOMENT_BLOCK);
    for (int c = 0; c < width; ++c) {
      const double pivot = moments[c], first = moments[width + c], second = moments[2 * width + c];
      sums[c] += first + count * pivot;
      sums[width + c] += second + 2 * pivot * first + count * pivot * pivot;
    }
  }
}

template <class T>
static void add_sums(double* sums, const T* part, int count) {
  for (int i = 0; i < count; ++i) sums[i] += part[i];
}

template <class T>
struct Pointwise {
  int inputs = 0, outputs = 0, in_width = 0, out_width = 0;  // widths: padded
  int64_t weight;
  T *forwards, *backwards;
  Norm<T> norm;

  void place(Layout& at, Pieces& memory, int in, int out) {
    inputs = in, outputs = out, in_width = padded<T>(in), out_width = padded<T>(out);
    weight = at.parameter();
    norm.place(at, memory, out);
    forwards = take<T>(memory, static_cast<size_t>(out_width) * in);
    backwards = take<T>(memory, static_cast<size_t>(in_width) * out);
  }
  size_t weights() const { return static_cast<size_t>(outputs) * in_width; }

  void prepare(const Run<T>& run) {
    const T* w = run.parameters + weight;
    pack(w, inputs, 1, outputs, inputs, forwards);
    pack(w, 1, inputs, inputs, outputs, backwards);
  }
  T* moments(Pieces& scratch, int pixels) const { return take<T>(scratch, 3ul * out_width * moment_blocks(pixels)); }
  // y of `pixels`, and its moments, for which there is scratch, added to sums.
  void forward(const T* x, int pixels, T* y, double* sums, T* moments) const {
    product(Product<T>{x, in_width, pixels, inputs, out_width, forwards},
            PutMoments<T>{y, out_width, moments, out_width});
    add_moments(sums, moments, out_width, pixels);
  }
  // The gradient of x, from dy at y, to wherever `epilogue` puts it; the weights' gradient is added to part.
  template <class Epilogue>
  void backward(const T* dy, const T* x, int pixels, T* part, Epilogue epilogue) const {
    outer(Outer<T>{dy, out_width, outputs, x, in_width, in_width, pixels, part, in_width});
    product(Product<T>{dy, out_width, pixels, outputs, in_width, backwards}, epilogue);
  }
  void write(const Run<T>& run, const T* part) const {
    T* w = run.gradient + weight;
    for (int n = 0; n < outputs; ++n) __builtin_memcpy(w + n * inputs, part + n * in_width, inputs * sizeof(T));
  }
};
