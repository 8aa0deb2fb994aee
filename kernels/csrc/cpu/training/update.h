// The optimizer on flat buffers: the gradient's norm, SGD with momentum, AdamW, and the average of the parameters.
// Blocks are fixed by sizes, never by threads.

constexpr int64_t BLOCK = 1 << 16;

template <class T>
static double squares(const T* values, int64_t count, int threads) {
  const int blocks = static_cast<int>((count + BLOCK - 1) / BLOCK);
  double* sums = new double[blocks];
  tasks(threads, blocks, [&](int block, int) {
    const int64_t end = (block + 1) * BLOCK < count ? (block + 1) * BLOCK : count;
    double lane[16] = {};
    for (int64_t i = block * BLOCK; i < end; i += 16)
      for (int j = 0; j < 16 && i + j < end; ++j) lane[j] += double(values[i + j]) * double(values[i + j]);
    double sum = 0;
    for (double one : lane) sum += one;
    sums[block] = sum;
  });
  double total = 0;
  for (int block = 0; block < blocks; ++block) total += sums[block];
  delete[] sums;
  return total;
}

// out ← factor·values, of any number of them.
template <class T>
static void scaled(const T* values, int64_t count, double factor, T* out, int threads) {
  const T by = T(factor);
  tasks(threads, static_cast<int>((count + BLOCK - 1) / BLOCK), [&](int block, int) {
    const int64_t end = (block + 1) * BLOCK < count ? (block + 1) * BLOCK : count;
    for (int64_t i = block * BLOCK; i < end; ++i) out[i] = values[i] * by;
  });
}

// momentum ← momentum·m + (g·scale + decay·p); p ← p - rate·momentum
template <class T>
static void update(const Span* spans, int span_count, T* parameters, const T* gradient, T* momenta, T momentum, T scale,
                   int threads) {
  tasks(threads, span_count, [&](int task, int) {
    const Span& span = spans[task];
    const V<T> decay = fill(T(span.decay)), rate = fill(T(-span.rate));
    // Spans begin at whole vectors and are padded to them with zeros; so in `update_adamw`.
    for (int64_t i = span.first; i < span.first + span.count; i += LANES<T>) {
      const V<T> p = load(parameters + i);
      const V<T> step = fma(load(momenta + i), fill(momentum), fma(load(gradient + i), fill(scale), p * decay));
      store(momenta + i, step), store(parameters + i, fma(step, rate, p));
    }
  });
}

// By squaring: what libm gives differs between its versions.
INLINE double power(double base, int64_t exponent) {
  double found = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2) found *= base;
  return found;
}

// p ← p - rate·decay·p; first ← b1·first + (1 - b1)·g, second ← b2·second + (1 - b2)·g², of g = gradient·scale;
// p ← p - rate/(1 - b1^step)·first / (√second/√(1 - b2^step) + ε)
template <class T>
static void update_adamw(const Span* spans, int span_count, T* parameters, const T* gradient, T* first, T* second,
                         const AdamW& by, int threads) {
  const double slow_first = 1 - power(by.first, by.step), slow_second = 1 - power(by.second, by.step);
  const V<T> scale = fill(T(by.scale)), epsilon = fill(T(by.epsilon)), keep = fill(T(by.second)),
             add_first = fill(T(1 - by.first)), add_second = fill(T(1 - by.second)),
             grown = fill(T(1 / __builtin_sqrt(slow_second)));
  tasks(threads, span_count, [&](int task, int) {
    const Span& span = spans[task];
    const V<T> shrink = fill(T(-span.rate * span.decay)), rate = fill(T(-span.rate / slow_first));
    for (int64_t i = span.first; i < span.first + span.count; i += LANES<T>) {
      const V<T> g = load(gradient + i) * scale, p = load(parameters + i), m = load(first + i);
      const V<T> mean = fma(g - m, add_first, m), square = fma(load(second + i), keep, g * g * add_second);
      store(first + i, mean), store(second + i, square);
      store(parameters + i, fma(mean / fma(root(square), grown, epsilon), rate, fma(p, shrink, p)));
    }
  });
}

// averaged ← keep·averaged + (1 - keep)·parameters, so that what no longer moves is met: the two shares, rounded, do
// not add up to 1. count: of whole vectors.
template <class T>
static void average(T* averaged, const T* parameters, int64_t count, double keep, int threads) {
  const V<T> share = fill(T(1 - keep));
  tasks(threads, static_cast<int>((count + BLOCK - 1) / BLOCK), [&](int block, int) {
    const int64_t end = (block + 1) * BLOCK < count ? (block + 1) * BLOCK : count;
    for (int64_t i = block * BLOCK; i < end; i += LANES<T>) {
      const V<T> a = load(averaged + i);
      store(averaged + i, fma(load(parameters + i) - a, share, a));
    }
  });
}
