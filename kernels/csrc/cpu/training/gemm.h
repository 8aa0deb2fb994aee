// Pointwise products in three directions: outputs from inputs, inputs' gradient from outputs', and weights' gradient.
//
// A register block is MR pixels × NV vectors of outputs. Weights lie in panels of 2·LANES outputs (the last may be one
// vector wide), for each input the panel's weights. A number is one chain of fused multiply-adds over the inputs (or
// over the pixels) in their order: how the blocks lie changes no bit.

template <class T>
struct Product {
  const T* a;  // the first pixel's inputs
  long lda;    // elements from pixel to pixel
  int pixels;
  int inputs;
  int outputs;  // padded
  const T* packed;
  int segments = 1;  // a 3×3 convolution's three rows: runs of `inputs` elements, `segment` apart
  long segment = 0;
};

template <class T, int MR, int NV, class Epilogue>
INLINE void product_tile(const Product<T>& g, const T* b, int p, int n, Epilogue& epilogue) {
  V<T> acc[MR][NV] = {};
  const long lda = g.lda;
  for (int s = 0; s < g.segments; ++s) {
    const T* a = g.a + p * lda + s * g.segment;
    for (int k = 0; k < g.inputs; ++k, b += NV * LANES<T>) {
      V<T> w[NV];
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) w[v] = load(b + v * LANES<T>);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const V<T> x = fill(a[i * lda + k]);
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[i][v] = fma(x, w[v], acc[i][v]);
      }
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < NV; ++v) {
    V<T> column[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) column[i] = acc[i][v];
    epilogue.template put<MR>(p, n + v * LANES<T>, column);
  }
}

template <class T, int NV, class Epilogue>
INLINE void product_panel(const Product<T>& g, const T* b, int n, Epilogue& epilogue) {
  int p = 0;
  for (; p + MR_FULL <= g.pixels; p += MR_FULL) product_tile<T, MR_FULL, NV>(g, b, p, n, epilogue);
  const int left = g.pixels - p;
#if MR_FULL > 8
  if (left & 8) product_tile<T, 8, NV>(g, b, p, n, epilogue), p += 8;
#endif
  if (left & 4) product_tile<T, 4, NV>(g, b, p, n, epilogue), p += 4;
  if (left & 2) product_tile<T, 2, NV>(g, b, p, n, epilogue), p += 2;
  if (left & 1) product_tile<T, 1, NV>(g, b, p, n, epilogue);
}

template <class T, class Epilogue>
static __attribute__((noinline)) void product(const Product<T>& g, Epilogue epilogue) {
  const T* b = g.packed;
  const long step = static_cast<long>(g.segments) * g.inputs * LANES<T>;
  for (int n = 0; n < g.outputs; n += 2 * LANES<T>) {
    if (n + LANES<T> < g.outputs)
      product_panel<T, 2>(g, b, n, epilogue), b += 2 * step;
    else
      product_panel<T, 1>(g, b, n, epilogue), b += step;
  }
}

// What is done with a column of a block: MR pixels from p, the LANES channels from n. `at[p]`: where pixel p begins.
template <class T>
struct Put {
  T* out;
  const int* at;
  template <int MR>
  inline __attribute__((always_inline)) void put(int p, int n, const V<T> (&y)[MR]) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) store(out + at[p + i] + n, y[i]);
  }
};

template <class T>
struct Add {
  T* out;
  const int* at;
  template <int MR>
  inline __attribute__((always_inline)) void put(int p, int n, const V<T> (&y)[MR]) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) add_to(out + at[p + i] + n, y[i]);
  }
};

template <class T>
struct PutBias {
  T* out;
  long ldo;
  const T* bias;
  template <int MR>
  inline __attribute__((always_inline)) void put(int p, int n, const V<T> (&y)[MR]) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) store(out + (p + i) * ldo + n, y[i] + load(bias + n));
  }
};

// Keeps the moments that a batch norm needs, by blocks of MOMENT_BLOCK pixels, which every MR_FULL divides: short sums
// stay exact enough for float. They are taken about the block's first pixel: where all pixels are alike, the variance
// is 0 and not a rounding of the mean's square. moments: per block 3 × outputs: that pixel, Σ difference, Σ
// difference².
constexpr int MOMENT_BLOCK = 42;

template <class T>
struct PutMoments {
  T* out;
  long ldo;
  T* moments;
  int outputs;
  template <int MR>
  inline __attribute__((always_inline)) void put(int p, int n, const V<T> (&y)[MR]) {
    T* m = moments + 3L * outputs * (p / MOMENT_BLOCK) + n;
    const bool begins = p % MOMENT_BLOCK == 0;
    const V<T> pivot = begins ? y[0] : load(m);
    V<T> first = begins ? V<T>{} : load(m + outputs), second = begins ? V<T>{} : load(m + 2 * outputs);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V<T> d = y[i] - pivot;
      first += d, second = fma(d, d, second);
      store(out + (p + i) * ldo + n, y[i]);
    }
    store(m, pivot), store(m + outputs, first), store(m + 2 * outputs, second);
  }
};
INLINE int moment_blocks(int pixels) { return (pixels + MOMENT_BLOCK - 1) / MOMENT_BLOCK; }

// w[n, k] += Σ_p a[p, n] · b[p, k], b of whole vectors.
template <class T>
struct Outer {
  const T* a;
  long lda;
  int rows;  // n
  const T* b;
  long ldb;
  int columns;  // k, padded
  int pixels;
  T* w;
  long ldw;
};

template <class T, int MR, int NV>
INLINE void outer_tile(const Outer<T>& g, int n, int k) {
  V<T> acc[MR][NV] = {};
  const T *a = g.a + n, *b = g.b + k;
  for (int p = 0; p < g.pixels; ++p, a += g.lda, b += g.ldb) {
    V<T> x[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) x[v] = load(b + v * LANES<T>);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V<T> y = fill(a[i]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(y, x[v], acc[i][v]);
    }
  }
  for (int i = 0; i < MR; ++i)
    for (int v = 0; v < NV; ++v) add_to(g.w + (n + i) * g.ldw + k + v * LANES<T>, acc[i][v]);
}

template <class T, int NV>
INLINE void outer_panel(const Outer<T>& g, int k) {
  int n = 0;
  for (; n + OUTER_FULL <= g.rows; n += OUTER_FULL) outer_tile<T, OUTER_FULL, NV>(g, n, k);
  const int left = g.rows - n;
#if OUTER_FULL > 8
  if (left & 8) outer_tile<T, 8, NV>(g, n, k), n += 8;
#endif
#if OUTER_FULL > 4
  if (left & 4) outer_tile<T, 4, NV>(g, n, k), n += 4;
#endif
  if (left & 2) outer_tile<T, 2, NV>(g, n, k), n += 2;
  if (left & 1) outer_tile<T, 1, NV>(g, n, k);
}

template <class T>
static __attribute__((noinline)) void outer(const Outer<T>& g) {
  for (int k = 0; k < g.columns; k += 2 * LANES<T>) {
    if (k + LANES<T> < g.columns)
      outer_panel<T, 2>(g, k);
    else
      outer_panel<T, 1>(g, k);
  }
}

// Panels of the weights w[n·row + k·column], n < outputs and k < inputs; what is padded is 0.
template <class T>
static void pack(const T* w, long row, long column, int outputs, int inputs, T* packed) {
  for (int n = 0; n < padded<T>(outputs); n += 2 * LANES<T>) {
    const int wide = least(2 * LANES<T>, padded<T>(outputs) - n);
    for (int k = 0; k < inputs; ++k)
      for (int j = 0; j < wide; ++j) *packed++ = n + j < outputs ? w[(n + j) * row + k * column] : T(0);
  }
}
