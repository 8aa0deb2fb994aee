// Pointwise and dense convolutions: a register block of MR pixels × NV vectors of outputs, weights in packed panels.
//
// Panel layout: for each panel of 2·LANES outputs (the last may be one vector wide), for each k: the panel's weights of
// input k. bfloat16: for each pair of inputs, the pair's weights as one 32-bit lane per output.

struct Tile {
  const void* a[3];
  const void* b;
  const void* residual;
  void* out;
  float* sums;
  const float* bias;
  const Gemm* g;
};

template <int MR, int NV>
INLINE const float* accumulate(vf (&acc)[MR][NV], const float* a, long lda, int k, const float* b) {
  for (int i = 0; i < k; ++i, b += NV * LANES) {
    vf w[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) w[v] = load(b + v * LANES);
#pragma GCC unroll 16
    for (int p = 0; p < MR; ++p) {
      const vf x = fill(a[p * lda + i]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[p][v] += x * w[v];
    }
  }
  return b;
}

template <int MR, int NV>
INLINE const bf16* accumulate(vf (&acc)[MR][NV], const bf16* a, long lda, int k, const bf16* b) {
  for (int i = 0; i < k; i += 2, b += 2 * NV * LANES) {
    vu w[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) w[v] = load_pair(b + 2 * v * LANES);
#pragma GCC unroll 16
    for (int p = 0; p < MR; ++p) {
      uint32_t pair;
      __builtin_memcpy(&pair, a + p * lda + i, 4);
      const vu x = vu{} + pair;
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
#if BF16_DOT
        acc[p][v] = (vf)_mm512_dpbf16_ps((__m512)acc[p][v], (__m512bh)x, (__m512bh)w[v]);
#else
        acc[p][v] += even(x) * even(w[v]);
        acc[p][v] += odd(x) * odd(w[v]);
#endif
      }
    }
  }
  return b;
}

template <class A, class Out, int MR, int NV>
static void tile(const Tile& t) {
  const Gemm& g = *t.g;
  vf acc[MR][NV] = {};
  const A* b = static_cast<const A*>(t.b);
  for (int s = 0; s < g.segments; ++s) b = accumulate<MR, NV>(acc, static_cast<const A*>(t.a[s]), g.lda, g.k, b);

  vf bias[NV];
  for (int v = 0; v < NV; ++v) bias[v] = load(t.bias + v * LANES);
  const vf in = fill(g.scale_in), out = fill(g.scale_out);
  if (t.sums) {
    for (int v = 0; v < NV; ++v) {
      vf sum = {};
#pragma GCC unroll 16
      for (int p = 0; p < MR; ++p) sum += relu(acc[p][v] * in + bias[v]);
      store(t.sums + v * LANES, load(t.sums + v * LANES) + sum);
    }
    return;
  }
#pragma GCC unroll 16
  for (int p = 0; p < MR; ++p) {
    Out* o = static_cast<Out*>(t.out) + p * g.ldo;
    vf y[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      y[v] = acc[p][v] * in + bias[v];
      if (t.residual) y[v] += load(static_cast<const Out*>(t.residual) + p * g.ldr + v * LANES);
      if (g.relu) y[v] = relu(y[v]) * out;
    }
    if constexpr (NV == 2)
      store2(o, y[0], y[1]);
    else
      store(o, y[0]);
  }
}

// A row of pixels in tiles of MR, then what is left in halves.
template <class A, class Out, int NV>
INLINE void row(Tile t, int width) {
  const Gemm& g = *t.g;
  int left = width;
  auto advance = [&](int pixels) {
    for (int s = 0; s < g.segments; ++s) t.a[s] = static_cast<const A*>(t.a[s]) + pixels * g.lda;
    if (t.residual) t.residual = static_cast<const Out*>(t.residual) + pixels * g.ldr;
    if (t.out) t.out = static_cast<Out*>(t.out) + pixels * g.ldo;
    left -= pixels;
  };
  while (left >= MR_FULL) tile<A, Out, MR_FULL, NV>(t), advance(MR_FULL);
#if MR_FULL > 8
  if (left >= 8) tile<A, Out, 8, NV>(t), advance(8);
#endif
  if (left >= 4) tile<A, Out, 4, NV>(t), advance(4);
  if (left >= 2) tile<A, Out, 2, NV>(t), advance(2);
  if (left >= 1) tile<A, Out, 1, NV>(t), advance(1);
}

template <class A, class Out>
static void gemm(const Gemm& g) {
  const A* b = static_cast<const A*>(g.b);
  const long inputs = static_cast<long>(g.segments) * g.k;
  for (int n = 0; n < g.n; n += 2 * LANES) {
    const bool full = n + 2 * LANES <= g.n;
    for (int r = 0; r < g.rows; ++r) {
      Tile t{{}, b, nullptr, nullptr, nullptr, g.bias + n, &g};
      for (int s = 0; s < g.segments; ++s) t.a[s] = g.a[r * g.segments + s];
      if (g.residual) t.residual = static_cast<const Out*>(g.residual[r]) + n;
      if (g.out) t.out = static_cast<Out*>(g.out[r]) + n;
      if (g.sums) t.sums = g.sums[r] + n;
      if (full)
        row<A, Out, 2>(t, g.width);
      else
        row<A, Out, 1>(t, g.width);
    }
    b += inputs * 2 * LANES;
  }
}

static size_t packed_size(int padded_n, int padded_k) { return static_cast<size_t>(padded_n) * padded_k; }

// Position of weight (n, k) in the packed panels.
template <class T>
INLINE size_t packed_index(int n, int k, int padded_n, int padded_k) {
  const int panel = n / (2 * LANES), first = panel * 2 * LANES;
  const int wide = padded_n - first < 2 * LANES ? padded_n - first : 2 * LANES;
  const size_t base = static_cast<size_t>(first) * padded_k;
  if (sizeof(T) == 4) return base + static_cast<size_t>(k) * wide + (n - first);
  return base + (static_cast<size_t>(k / 2) * wide + (n - first)) * 2 + k % 2;
}

template <class T>
static void pack(const float* w, int n, int k, int padded_n, int padded_k, void* packed) {
  T* out = static_cast<T*>(packed);
  for (int i = 0; i < padded_n; ++i)
    for (int j = 0; j < padded_k; ++j)
      put(out + packed_index<T>(i, j, padded_n, padded_k), i < n && j < k ? w[static_cast<long>(i) * k + j] : 0.0f);
}
