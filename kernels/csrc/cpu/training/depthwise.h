// Depthwise 3×3 over rows that are padded with zeros, four columns at a time: forward, and the taps' gradient. The
// gradient of the input is the forward of the flipped taps.

// Rows of `columns` pixels: the first output's window begins at `from`; `row` elements from one of its rows to the
// next.
template <class T>
struct Windows {
  const T* from;
  long row;
  int rows, columns;  // of outputs
  int channels;       // padded
  int stride;
};

template <class T, int STRIDE, int COLUMNS, class Epilogue>
INLINE void window_columns(const T* from, long row, int channels, const V<T> (&taps)[9], long at, Epilogue& epilogue) {
  V<T> acc[COLUMNS] = {};
#pragma GCC unroll 3
  for (int y = 0; y < 3; ++y)
#pragma GCC unroll 9
    for (int j = 0; j < (COLUMNS - 1) * STRIDE + 3; ++j) {
      const V<T> x = load(from + y * row + static_cast<long>(j) * channels);
#pragma GCC unroll 4
      for (int o = 0; o < COLUMNS; ++o) {
        const int t = j - o * STRIDE;
        if (t >= 0 && t < 3) acc[o] = fma(x, taps[y * 3 + t], acc[o]);
      }
    }
#pragma GCC unroll 4
  for (int o = 0; o < COLUMNS; ++o) epilogue.put(at + static_cast<long>(o) * channels, acc[o]);
}

template <class T, int STRIDE, class Epilogue>
static __attribute__((noinline)) void windows(const Windows<T>& g, const T* taps, Epilogue epilogue) {
  const long step = static_cast<long>(STRIDE) * g.channels;
  for (int c = 0; c < g.channels; c += LANES<T>) {
    V<T> k[9];
    for (int t = 0; t < 9; ++t) k[t] = load(taps + t * g.channels + c);
    for (int r = 0; r < g.rows; ++r) {
      epilogue.begin(c);
      const T* from = g.from + static_cast<long>(r) * STRIDE * g.row + c;
      long at = static_cast<long>(r) * g.columns * g.channels + c;
      int left = g.columns;
      for (; left >= 4; left -= 4, from += 4 * step, at += 4L * g.channels)
        window_columns<T, STRIDE, 4>(from, g.row, g.channels, k, at, epilogue);
      for (; left > 0; --left, from += step, at += g.channels)
        window_columns<T, STRIDE, 1>(from, g.row, g.channels, k, at, epilogue);
      epilogue.end(c);
    }
  }
}

template <class T, class Epilogue>
INLINE void depthwise(const Windows<T>& g, const T* taps, Epilogue epilogue) {
  if (g.stride == 1)
    windows<T, 1>(g, taps, epilogue);
  else
    windows<T, 2>(g, taps, epilogue);
}

// What is done with an output, row by row; `at` counts elements of a map without padding.
template <class T>
struct WindowPut {
  T* out;
  void begin(int) {}
  void end(int) {}
  inline __attribute__((always_inline)) void put(long at, V<T> v) { store(out + at, v); }
};

template <class T>
struct WindowAdd {
  T* out;
  void begin(int) {}
  void end(int) {}
  inline __attribute__((always_inline)) void put(long at, V<T> v) { add_to(out + at, v); }
};

// g = v where the batch norm's output of y is above 0, and the sums that its backward pass needs, Σ g
// and Σ g·(y - mean), are added to.
template <class T>
struct WindowMasked {
  T* out;
  const T *y, *scale, *shift, *mean;
  T* sums;
  int channels;
  V<T> s, t, m, first, second;
  inline __attribute__((always_inline)) void begin(int c) {
    s = load(scale + c), t = load(shift + c), m = load(mean + c);
    first = second = V<T>{};
  }
  inline __attribute__((always_inline)) void end(int c) {
    add_to(sums + c, first), add_to(sums + channels + c, second);
  }
  inline __attribute__((always_inline)) void put(long at, V<T> v) {
    const V<T> x = load(y + at), g = passed(v, fma(x, s, t));
    store(out + at, g);
    first += g, second = fma(g, x - m, second);
  }
};

template <class T, int STRIDE, int COLUMNS>
INLINE void tap_columns(const T* from, long row, const T* gradient, int channels, V<T> (&acc)[9]) {
  V<T> g[COLUMNS];
#pragma GCC unroll 4
  for (int o = 0; o < COLUMNS; ++o) g[o] = load(gradient + static_cast<long>(o) * STRIDE * channels);
#pragma GCC unroll 3
  for (int y = 0; y < 3; ++y)
#pragma GCC unroll 9
    for (int j = 0; j < (COLUMNS - 1) * STRIDE + 3; ++j) {
      const V<T> x = load(from + y * row + static_cast<long>(j) * channels);
#pragma GCC unroll 4
      for (int o = 0; o < COLUMNS; ++o) {
        const int t = j - o * STRIDE;
        if (t >= 0 && t < 3) acc[y * 3 + t] = fma(x, g[o], acc[y * 3 + t]);
      }
    }
}

// taps: 9 × channels, added to. gradient: of the outputs, STRIDE pixels apart in rows `gradient_row` elements apart.
template <class T, int STRIDE>
static __attribute__((noinline)) void tap_gradients(const Windows<T>& g, const T* gradient, long gradient_row,
                                                    T* taps) {
  const long step = static_cast<long>(STRIDE) * g.channels;
  for (int c = 0; c < g.channels; c += LANES<T>) {
    V<T> acc[9] = {};
    for (int r = 0; r < g.rows; ++r) {
      const T *from = g.from + static_cast<long>(r) * STRIDE * g.row + c, *d = gradient + r * gradient_row + c;
      int left = g.columns;
      for (; left >= 4; left -= 4, from += 4 * step, d += 4 * step)
        tap_columns<T, STRIDE, 4>(from, g.row, d, g.channels, acc);
      for (; left > 0; --left, from += step, d += step) tap_columns<T, STRIDE, 1>(from, g.row, d, g.channels, acc);
    }
    for (int t = 0; t < 9; ++t) add_to(taps + t * g.channels + c, acc[t]);
  }
}
