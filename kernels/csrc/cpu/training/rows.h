// Rows of maps: copied into padded strips, enlarged, shrunk, and the same backwards.

// Rows first .. first + rows of a map, padded with zeros on all sides; through `norm` and ReLU where one is given.
template <class T>
static void padded_rows(T* out, const T* map, int first, int rows, int height, int width, int channels,
                        const Norm<T>* norm) {
  const long row = static_cast<long>(width) * channels;
  for (int r = first; r < first + rows; ++r, out += row + 2 * channels) {
    if (r < 0 || r >= height) {
      __builtin_memset(out, 0, (row + 2 * channels) * sizeof(T));
      continue;
    }
    const T* x = map + r * row;
    T* o = out + channels;
    __builtin_memset(out, 0, channels * sizeof(T));
    __builtin_memset(o + row, 0, channels * sizeof(T));
    if (!norm) {
      __builtin_memcpy(o, x, row * sizeof(T));
      continue;
    }
    for (int c = 0; c < channels; c += LANES<T>) {
      const V<T> s = load(norm->scale + c), t = load(norm->shift + c);
      for (long p = c; p < row; p += channels) store(o + p, relu(fma(load(x + p), s, t)));
    }
  }
}

// Where pixels begin: pixel p of rows of `width` at (p / width)·row + (p % width)·column + first.
INLINE void fill_offsets(int* at, int rows, int width, long row, long column, long first) {
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) *at++ = static_cast<int>(first + r * row + w * column);
}

// A path's or the head's map of one image that is sent on: ReLU(norm(y)) · factor, as it is or enlarged ×2.
template <class T>
struct Sending {
  const T* y;
  const Norm<T>* norm;
  T factor;
  int height, width;
};

// to = the map, or to += where something has arrived before.
template <class T>
static void send(const Sending<T>& s, T* to, bool first) {
  const int channels = s.norm->width;
  const long row = static_cast<long>(s.width) * channels;
  for (int i = 0; i < s.height; ++i)
    for (int c = 0; c < channels; c += LANES<T>) {
      const V<T> a = load(s.norm->scale + c) * s.factor, b = load(s.norm->shift + c) * s.factor;
      for (long p = i * row + c; p < (i + 1) * row; p += channels) {
        const V<T> v = relu(fma(load(s.y + p), a, b));
        store(to + p, first ? v : load(to + p) + v);
      }
    }
}

// Bilinear ×2 with half-pixel centres: outputs 2i and 2i+1 take 3/4 of pixel i and 1/4 of its left or right neighbour;
// at the edges the neighbour is the pixel itself.
template <class T>
static void send_enlarged(const Sending<T>& s, T* to, bool first, Pieces& scratch) {
  const int channels = s.norm->width;
  const long row = static_cast<long>(s.width) * channels;
  T *active[3], *mixed = take<T>(scratch, row);
  int held[3] = {-1, -1, -1};
  for (T*& one : active) one = take<T>(scratch, row);
  auto activated = [&](int i) {
    T* o = active[i % 3];
    if (held[i % 3] != i) send(Sending<T>{s.y + i * row, s.norm, s.factor, 1, s.width}, o, true), held[i % 3] = i;
    return o;
  };
  for (int r = 0; r < 2 * s.height; ++r) {
    const int i = r / 2, beside = least(most(r % 2 ? i + 1 : i - 1, 0), s.height - 1);
    const T *near = activated(i), *far = activated(beside);
    for (long p = 0; p < row; p += LANES<T>)
      store(mixed + p, fma(load(near + p), fill(T(0.75)), load(far + p) * T(0.25)));
    T* o = to + 2 * r * row;
    for (int w = 0; w < s.width; ++w, o += 2 * channels) {
      const T* m = mixed + static_cast<long>(w) * channels;
      const long left = w > 0 ? -channels : 0, right = w < s.width - 1 ? channels : 0;
      for (int c = 0; c < channels; c += LANES<T>) {
        const V<T> x = load(m + c) * T(0.75);
        const V<T> a = fma(load(m + left + c), fill(T(0.25)), x), b = fma(load(m + right + c), fill(T(0.25)), x);
        store(o + c, first ? a : load(o + c) + a);
        store(o + channels + c, first ? b : load(o + channels + c) + b);
      }
    }
  }
}

// Backwards from the gradient `from` of what was sent: g at the norm's output, factor included, its sums (see
// Norm::backward) added to `sums`; returns the factor's gradient. part: scratch of 3 · channels.
template <class T>
struct Received {
  const Sending<T>& s;
  T *g, *part;
  double* sums;
  double factor_gradient = 0;

  // One row's channels from c: raw(w) is the gradient of the unscaled map at pixel w.
  template <class Raw>
  INLINE void row(Received& self, long at, int c, Raw raw) {
    const Norm<T>& norm = *self.s.norm;
    const V<T> scale = load(norm.scale + c), shift = load(norm.shift + c), mean = load(norm.mean + c);
    V<T> first = {}, second = {}, along = {};
    for (int w = 0; w < self.s.width; ++w, at += norm.width) {
      const V<T> y = load(self.s.y + at), z = fma(y, scale, shift), gradient = passed(raw(w), z);
      const V<T> scaled = gradient * self.s.factor;
      store(self.g + at, scaled);
      first += scaled, second = fma(scaled, y - mean, second), along = fma(gradient, z, along);
    }
    store(self.part + c, first), store(self.part + norm.width + c, second),
        store(self.part + 2 * norm.width + c, along);
  }
  void end_row() {
    const int width = s.norm->width;
    add_sums(sums, part, 2 * width);
    for (int c = 0; c < width; ++c) factor_gradient += part[2 * width + c];
  }
};

template <class T>
static double receive(const Sending<T>& s, const T* from, T* g, double* sums, Pieces& scratch) {
  const int channels = s.norm->width;
  const long row = static_cast<long>(s.width) * channels;
  Received<T> received{s, g, take<T>(scratch, 3 * channels), sums};
  for (int i = 0; i < s.height; ++i) {
    for (int c = 0; c < channels; c += LANES<T>)
      Received<T>::row(received, i * row + c, c, [&](int w) { return load(from + i * row + c + w * channels); });
    received.end_row();
  }
  return received.factor_gradient;
}

template <class T>
static double receive_enlarged(const Sending<T>& s, const T* from, T* g, double* sums, Pieces& scratch) {
  const int channels = s.norm->width;
  const long row = static_cast<long>(s.width) * channels, wide = 2 * row;
  T* mixed = take<T>(scratch, wide);
  Received<T> received{s, g, take<T>(scratch, 3 * channels), sums};
  for (int i = 0; i < s.height; ++i) {
    const T *r1 = from + 2 * i * wide, *r2 = r1 + wide, *r0 = i ? r1 - wide : r1,
            *r3 = i < s.height - 1 ? r2 + wide : r2;
    for (long p = 0; p < wide; p += LANES<T>)
      store(mixed + p, fma(load(r1 + p) + load(r2 + p), fill(T(0.75)), (load(r0 + p) + load(r3 + p)) * T(0.25)));
    for (int c = 0; c < channels; c += LANES<T>)
      Received<T>::row(received, i * row + c, c, [&](int w) {
        const T* m = mixed + 2L * w * channels + c;
        const V<T> m1 = load(m), m2 = load(m + channels);
        const V<T> m0 = w ? load(m - channels) : m1, m3 = w < s.width - 1 ? load(m + 2 * channels) : m2;
        return fma(m1 + m2, fill(T(0.75)), (m0 + m3) * T(0.25));
      });
    received.end_row();
  }
  return received.factor_gradient;
}
