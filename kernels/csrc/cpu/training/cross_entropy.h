// Cross-entropy of logits enlarged ×4 (bilinear, half-pixel centres), and its gradient, without the enlarged logits
// ever being held. A lane is a pixel of the quarter-size map; its four columns of the enlargement are four phases.

constexpr double QUARTER[4] = {0.375, 0.125, 0.875, 0.625};  // what a phase gives to the first of its two neighbours
constexpr int IGNORED = 255;

template <class T>
struct EnlargedRows {
  int classes, width, pitch;  // pitch: of a row of one class, with an edge on either side and whole vectors
  T *x, *g;                   // classes × rows × pitch: the image's logits, and their gradient
  T* mixed;                   // classes × pitch: a row of the enlargement at quarter width
  T *left, *own, *right;      // likewise: what its pixels give to the one before, to themselves, and (from 1) behind
  T *label, *weight, *loss;   // 4 × pitch
  T* z;                       // classes × LANES
};

// Softmax of four phases of LANES pixels from w; rows of `left`, `own` and `right` receive the gradient for the pixel
// before, the pixel itself, and the one behind.
template <class T>
INLINE void quarter_pixels(const EnlargedRows<T>& r, int w) {
  for (int phase = 0; phase < 4; ++phase) {
    const V<T> share = fill(T(QUARTER[phase])), rest = fill(T(1 - QUARTER[phase]));
    const T* m = r.mixed + w + (phase >= 2);
    const V<T> label = load(r.label + phase * r.pitch + w), weight = load(r.weight + phase * r.pitch + w);
    V<T> best = {}, sum = {}, of_label = {};
    for (int k = 0; k < r.classes; ++k, m += r.pitch) {
      const V<T> z = fma(load(m), share, load(m + 1) * rest);
      best = k ? (best > z ? best : z) : z;
      store(r.z + k * LANES<T>, z);
    }
    for (int k = 0; k < r.classes; ++k) {
      const V<T> d = load(r.z + k * LANES<T>) - best, e = exponential<T>(d);
      of_label = label == T(k) ? d : of_label;
      sum += e;
      store(r.z + k * LANES<T>, e);
    }
    store(r.loss + phase * r.pitch + w, weight * (logarithm<T>(sum) - of_label));
    const V<T> scale = weight / sum;
    for (int k = 0; k < r.classes; ++k) {
      const V<T> y = load(r.z + k * LANES<T>) * scale - (label == T(k) ? weight : V<T>{});
      const long at = static_cast<long>(k) * r.pitch + w;
      T* beside = phase < 2 ? r.left + at : r.right + at + 1;
      const V<T> before = phase % 2 ? load(beside) : V<T>{};
      const V<T> middle = phase ? load(r.own + at) : V<T>{};
      // phases 0 and 1 lie between the pixel before and the pixel itself, 2 and 3 between it and the one behind
      store(beside, fma(y, phase < 2 ? share : rest, before));
      store(r.own + at, fma(y, phase < 2 ? rest : share, middle));
    }
  }
}

template <class T>
struct EnlargedLoss {
  int classes, height, width;     // of the logits
  int label_height, label_width;  // of the labels: less than four times that where the crop was padded
  const T *logits, *weights;
  const uint8_t* labels;
  T* gradient;

  double image(int n, Pieces scratch) const {
    EnlargedRows<T> r = begin(n, scratch);
    const long plane = static_cast<long>(height) * r.pitch;
    double loss = 0;
    for (int row = 0; row < label_height; ++row) {
      const int phase = row % 4, first = most(row / 4 - (phase < 2), 0),
                second = least(row / 4 + (phase >= 2), height - 1);
      const V<T> share = fill(T(QUARTER[phase])), rest = fill(T(1 - QUARTER[phase]));
      for (int k = 0; k < classes; ++k) {
        const T *a = r.x + k * plane + static_cast<long>(first) * r.pitch,
                *b = r.x + k * plane + static_cast<long>(second) * r.pitch;
        for (int w = 0; w < r.pitch; w += LANES<T>)
          store(r.mixed + static_cast<long>(k) * r.pitch + w, fma(load(a + w), share, load(b + w) * rest));
      }
      read_labels(r, labels + (static_cast<long>(n) * label_height + row) * label_width);
      for (int w = 0; w < width; w += LANES<T>) quarter_pixels(r, w);
      for (int w = 0; w < width; ++w)
        for (int p = 0; p < 4; ++p) loss += r.loss[p * r.pitch + w];
      for (int k = 0; k < classes; ++k) {
        T *a = r.g + k * plane + static_cast<long>(first) * r.pitch,
          *b = r.g + k * plane + static_cast<long>(second) * r.pitch;
        fold_edges(r, k), spread(r, k, share, a), spread(r, k, rest, b);
      }
    }
    end(n, r);
    return loss;
  }

 private:
  EnlargedRows<T> begin(int n, Pieces& scratch) const {
    EnlargedRows<T> r;
    r.classes = classes, r.width = width, r.pitch = padded<T>(width) + 2 * LANES<T>;
    const long plane = static_cast<long>(height) * r.pitch;
    r.x = take<T>(scratch, classes * plane), r.g = take<T>(scratch, classes * plane);
    for (T** one : {&r.mixed, &r.left, &r.own, &r.right})
      *one = take<T>(scratch, static_cast<size_t>(classes) * r.pitch);
    for (T** one : {&r.label, &r.weight, &r.loss}) *one = take<T>(scratch, 4ul * r.pitch);
    r.z = take<T>(scratch, classes * LANES<T>);
    __builtin_memset(r.x, 0, classes * plane * sizeof(T)), __builtin_memset(r.g, 0, classes * plane * sizeof(T));
    for (T* one : {r.left, r.right}) __builtin_memset(one, 0, sizeof(T) * classes * r.pitch);
    const T* from = logits + static_cast<long>(n) * height * width * classes;
    for (int i = 0; i < height; ++i)
      for (int k = 0; k < classes; ++k) {
        T* o = r.x + k * plane + static_cast<long>(i) * r.pitch;
        for (int w = 0; w < width; ++w) o[w + 1] = from[(static_cast<long>(i) * width + w) * classes + k];
        o[0] = o[1], o[width + 1] = o[width];  // the edges repeat
      }
    return r;
  }
  // A pixel left out has weight 0, and so has what was padded.
  void read_labels(const EnlargedRows<T>& r, const uint8_t* row) const {
    for (int p = 0; p < 4; ++p)
      for (int w = 0; w < r.pitch; ++w) {
        const int at = 4 * w + p, label = w < width && at < label_width ? row[at] : IGNORED;
        r.label[p * r.pitch + w] = T(label);
        r.weight[p * r.pitch + w] = label == IGNORED ? T(0) : weights ? weights[label] : T(1);
      }
  }
  // to[w + 1] += share · (what pixel w takes for itself, what w + 1 gives to its left, what w - 1 gives to its right);
  // at the edges a pixel gives to itself.
  void fold_edges(const EnlargedRows<T>& r, int k) const {
    const long at = static_cast<long>(k) * r.pitch;
    r.own[at] += r.left[at], r.own[at + width - 1] += r.right[at + width];
    r.right[at + width] = 0;
  }
  void spread(const EnlargedRows<T>& r, int k, V<T> share, T* to) const {
    const long at = static_cast<long>(k) * r.pitch;
    for (int w = 0; w < width; w += LANES<T>) {
      const V<T> own = load(r.own + at + w) + load(r.left + at + w + 1) + load(r.right + at + w);
      store(to + w + 1, fma(own, share, load(to + w + 1)));
    }
  }
  void end(int n, const EnlargedRows<T>& r) const {
    T* to = gradient + static_cast<long>(n) * height * width * classes;
    const long plane = static_cast<long>(height) * r.pitch;
    for (int i = 0; i < height; ++i)
      for (int k = 0; k < classes; ++k)
        for (int w = 0; w < width; ++w)
          to[(static_cast<long>(i) * width + w) * classes + k] =
              r.g[k * plane + static_cast<long>(i) * r.pitch + w + 1];
  }
};
