// What a pass over the images shares: parameters, scratch memory per thread, and sums whose order is fixed.
//
// A phase is worked through in chunks of images, of which there are as many as the scale says, whatever the number of
// threads; each chunk sums by itself, in double for a channel's sums and in T for weights, and the chunks' sums meet in
// order.

constexpr int CHUNKS[kScales] = {8, 8, 4, 2};

template <class T>
INLINE T* take(Pieces& memory, size_t count) {
  return reinterpret_cast<T*>(memory.take((count + 1) * sizeof(T)));
}

template <class T>
struct Run {
  int images = 0, threads = 1;
  const T* parameters = nullptr;
  T* gradient = nullptr;
  T* statistics = nullptr;
  double momentum = 0, epsilon = 0;
  const uint8_t* forced = nullptr;  // images × paths
  bool gate_factors = false;
  int paths = 0;
  size_t sum_count = 0, weight_count = 0;  // the most that a phase needs
  double* chunk_sums[CHUNKS[0]] = {};
  T* chunk_weights[CHUNKS[0]] = {};
  const double* sums = nullptr;  // of the last phase
  const T* weights = nullptr;
  char* scratch = nullptr;  // of thread 0; the others' follow
  size_t scratch_bytes = 0;

  void needs(size_t sums_needed, size_t weights_needed) {
    if (sums_needed > sum_count) sum_count = sums_needed;
    if (weights_needed > weight_count) weight_count = weights_needed;
  }
  void place(Pieces& memory) {
    for (int c = 0; c < least(CHUNKS[0], images); ++c) {
      chunk_sums[c] = take<double>(memory, sum_count);
      chunk_weights[c] = take<T>(memory, weight_count);
    }
  }
};

template <class F>
static void call_task(void* f, int task, int thread) {
  (*static_cast<F*>(f))(task, thread);
}
template <class F>
static void tasks(int threads, int count, F f) {
  parallel(threads, count, call_task<F>, &f);
}

// each(image, sums, weights, scratch), where sums and weights begin at 0; then `run.sums` and `run.weights` hold them.
template <class T, class F>
static void over_images(Run<T>& run, int scale, size_t sums, size_t weights, F each) {
  const int chunks = least(CHUNKS[scale], run.images);
  tasks(run.threads, chunks, [&](int chunk, int thread) {
    double* s = run.chunk_sums[chunk];
    T* w = run.chunk_weights[chunk];
    __builtin_memset(s, 0, sums * sizeof(double));
    __builtin_memset(w, 0, weights * sizeof(T));
    const int end = run.images * (chunk + 1) / chunks;
    for (int n = run.images * chunk / chunks; n < end; ++n) {
      Pieces scratch(run.scratch + thread * run.scratch_bytes, run.scratch_bytes);
      each(n, s, w, scratch);
    }
  });
  for (int c = 1; c < chunks; ++c) {
    for (size_t i = 0; i < sums; ++i) run.chunk_sums[0][i] += run.chunk_sums[c][i];
    for (size_t i = 0; i < weights; ++i) run.chunk_weights[0][i] += run.chunk_weights[c][i];
  }
  run.sums = run.chunk_sums[0], run.weights = run.chunk_weights[0];
}

// Rows of a strip: as many as make 16 KB of float32 with the channels as given, so that no instruction set's padding
// changes what is summed together; but at least 64 pixels, for which the weights are read once, and three rows, since
// two more are read on its borders.
INLINE int strip_rows(int height, int width, int channels) {
  const int fit = 4096 / (width * channels), least_rows = most(3, (63 + width) / width);
  return least(height, most(least_rows, fit));
}
