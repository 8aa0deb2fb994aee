// Depthwise 3×3, four columns at a time, all channels of them before the next four: inputs are read in order.
//
// Weights: for each block of channels, the nine taps in order. A block is LANES channels (float32), or the even then
// the odd ones of 2·LANES channels (bfloat16).

template <class T>
struct Block;  // channels of one block, and how they are read and written as SPLIT vectors

template <>
struct Block<float> {
  static constexpr int SPLIT = 1;
  INLINE void read(const float* p, vf (&x)[1]) { x[0] = load(p); }
  INLINE void write(float* p, const vf (&x)[1]) { store(p, x[0]); }
  INLINE int channel(int, int lane) { return lane; }
};

template <>
struct Block<bf16> {
  static constexpr int SPLIT = 2;
  INLINE void read(const bf16* p, vf (&x)[2]) {
    const vu pair = load_pair(p);
    x[0] = even(pair);
    x[1] = odd(pair);
  }
  INLINE void write(bf16* p, const vf (&x)[2]) { store_pair(p, x[0], x[1]); }
  INLINE int channel(int half, int lane) { return 2 * lane + half; }
};

template <class T, int COLUMNS, int STRIDE>
INLINE void depthwise_columns(const T* const (&rows)[3], const float* w, T* out, long ldo, int channels) {
  constexpr int S = Block<T>::SPLIT, READ = (COLUMNS - 1) * STRIDE + 3;
  for (int c = 0; c < channels; c += S * LANES) {
    vf acc[COLUMNS][S] = {};
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r, w += 3 * S * LANES) {
      vf tap_w[3][S];
#pragma GCC unroll 3
      for (int t = 0; t < 3; ++t)
#pragma GCC unroll 2
        for (int s = 0; s < S; ++s) tap_w[t][s] = load(w + (t * S + s) * LANES);
#pragma GCC unroll 9
      for (int j = 0; j < READ; ++j) {
        vf x[S];
        Block<T>::read(rows[r] + static_cast<long>(j) * channels + c, x);
#pragma GCC unroll 4
        for (int o = 0; o < COLUMNS; ++o) {
          const int tap = j - o * STRIDE;
          if (tap < 0 || tap > 2) continue;
#pragma GCC unroll 2
          for (int s = 0; s < S; ++s) acc[o][s] += x[s] * tap_w[tap][s];
        }
      }
    }
#pragma GCC unroll 4
    for (int o = 0; o < COLUMNS; ++o) Block<T>::write(out + o * ldo + c, acc[o]);
  }
}

template <class T, int STRIDE>
INLINE void depthwise_row(const Depthwise& d) {
  const T* rows[3];
  for (int r = 0; r < 3; ++r) rows[r] = static_cast<const T*>(d.rows[r]);
  T* out = static_cast<T*>(d.out);
  const long step = static_cast<long>(STRIDE) * d.channels;
  int left = d.width;
  for (; left >= 4; left -= 4) {
    depthwise_columns<T, 4, STRIDE>(rows, d.w, out, d.ldo, d.channels);
    for (auto& r : rows) r += 4 * step;
    out += 4 * d.ldo;
  }
  for (; left > 0; --left) {
    depthwise_columns<T, 1, STRIDE>(rows, d.w, out, d.ldo, d.channels);
    for (auto& r : rows) r += step;
    out += d.ldo;
  }
}

template <class T>
static void depthwise(const Depthwise& d) {
  if (d.stride == 1)
    depthwise_row<T, 1>(d);
  else
    depthwise_row<T, 2>(d);
}

template <class T>
static void pack_depthwise(const float* w, int channels, int padded, float* packed) {
  constexpr int S = Block<T>::SPLIT;
  for (int c = 0; c < padded; c += S * LANES)
    for (int tap = 0; tap < 9; ++tap)
      for (int s = 0; s < S; ++s)
        for (int lane = 0; lane < LANES; ++lane) {
          const int channel = c + Block<T>::channel(s, lane);
          *packed++ = channel < channels ? w[channel * 9L + tap] : 0.0f;
        }
}
