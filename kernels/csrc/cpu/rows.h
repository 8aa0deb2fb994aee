// What arrives at a cell, row by row; the small gate's samples; the enlarged argmax.

template <class T>
static void blend(const void* a, const void* b, float w0, float w1, size_t n, float* v) {
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(b);
  for (size_t i = 0; i < n; i += LANES) store(v + i, load(x + i) * w0 + load(y + i) * w1);
}

// Bilinear ×2 with half-pixel centres: outputs 2i and 2i+1 take 3/4 of v[i] and 1/4 of its left or right neighbour;
// at the edges the neighbour is v[i] itself.
template <class T, bool A, bool B, bool V>
INLINE void assemble_row(T* x, const T* a, const T* b, const float* v, int width, int channels) {
  const int half = width / 2;
  for (int j = 0; j < width; ++j) {
    const int i = j / 2, beside = j % 2 ? (i + 1 < half ? i + 1 : i) : (i > 0 ? i - 1 : i);
    const long at = static_cast<long>(j) * channels;
    for (int c = 0; c < channels; c += LANES) {
      vf sum = {};
      if (A) sum = load(a + at + c);
      if (B) sum += load(b + at + c);
      if (V) sum += load(v + static_cast<long>(i) * channels + c) * 0.75f +
                    load(v + static_cast<long>(beside) * channels + c) * 0.25f;
      store(x + at + c, sum);
    }
  }
}

template <class T>
static void assemble(void* x, const void* a, const void* b, const float* v, int width, int channels) {
  T* out = static_cast<T*>(x);
  const T* first = static_cast<const T*>(a ? a : b);
  const T* second = static_cast<const T*>(a ? b : nullptr);
  if (first && second && v)
    assemble_row<T, true, true, true>(out, first, second, v, width, channels);
  else if (first && second)
    assemble_row<T, true, true, false>(out, first, second, v, width, channels);
  else if (first && v)
    assemble_row<T, true, false, true>(out, first, second, v, width, channels);
  else if (v)
    assemble_row<T, false, false, true>(out, first, second, v, width, channels);
  else if (first && first != out)
    assemble_row<T, true, false, false>(out, first, second, v, width, channels);
}

template <class T>
static void sample(const float* v, const int* first, const int* second, const float* share, int width, int channels,
                   void* out) {
  T* o = static_cast<T*>(out);
  for (int j = 0; j < width; ++j) {
    const float* p = v + static_cast<long>(first[j]) * channels;
    const float* q = v + static_cast<long>(second[j]) * channels;
    for (int c = 0; c < channels; c += LANES)
      store(o + static_cast<long>(j) * channels + c, load(p + c) * (1 - share[j]) + load(q + c) * share[j]);
  }
}

// Bilinear ×4 with half-pixel centres: the four outputs of pixel i weigh it 5/8, 7/8, 7/8, 5/8, its neighbour the rest.
INLINE void quarter_steps(const float* p, vf (&value)[4]) {
  const vf left = load(p), middle = load(p + 1), right = load(p + 2);
  value[0] = left * 0.375f + middle * 0.625f;
  value[1] = left * 0.125f + middle * 0.875f;
  value[2] = middle * 0.875f + right * 0.125f;
  value[3] = middle * 0.625f + right * 0.375f;
}

static void enlarge4(const float* v, int width, float* out) {
  for (int j = 0; j < width; j += LANES) {
    vf value[4];
    quarter_steps(v + j, value);
    for (int lane = 0; lane < LANES; ++lane)
      for (int q = 0; q < 4; ++q) out[4L * (j + lane) + q] = value[q][lane];
  }
}

// The four labels of a pixel are the four bytes of one lane.
static void argmax4(const float* v, long ld, int classes, int width, uint8_t* labels) {
  for (int j = 0; j < width; j += LANES) {
    vf best[4];
    vi label[4] = {};
    for (int k = 0; k < classes; ++k) {
      vf value[4];
      quarter_steps(v + k * ld + j, value);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        if (k == 0) {
          best[q] = value[q];
          continue;
        }
        const vi more = value[q] > best[q];
        best[q] = more ? value[q] : best[q];
        label[q] = more ? vi{} + k : label[q];
      }
    }
    const vi bytes = label[0] | (label[1] << 8) | (label[2] << 16) | (label[3] << 24);
    __builtin_memcpy(labels + 4L * j, &bytes, sizeof bytes);
  }
}
