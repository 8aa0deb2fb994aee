// The optimizer on flat buffers: the gradient's norm, and SGD with momentum. Blocks are fixed by sizes, never by
// threads.

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

// momentum ← momentum·m + (g·scale + decay·p); p ← p - rate·momentum
template <class T>
static void update(const Span* spans, int span_count, T* parameters, const T* gradient, T* momenta, T momentum, T scale,
                   int threads) {
  tasks(threads, span_count, [&](int task, int) {
    const Span& span = spans[task];
    const V<T> decay = fill(T(span.decay)), rate = fill(T(-span.rate));
    // Spans begin at whole vectors and are padded to them with zeros.
    for (int64_t i = span.first; i < span.first + span.count; i += LANES<T>) {
      const V<T> p = load(parameters + i);
      const V<T> step = fma(load(momenta + i), fill(momentum), fma(load(gradient + i), fill(scale), p * decay));
      store(momenta + i, step), store(parameters + i, fma(step, rate, p));
    }
  });
}
