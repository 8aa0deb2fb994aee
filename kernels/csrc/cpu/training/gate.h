// The soft conditional gate: 1×1 convolution, batch norm, ReLU, mean over positions, a linear layer, max(0, tanh).
//
// The mean is taken without a pass of its own: over the positions where the norm's output is above 0, it is
// scale · Σ (z - mean) + bias · their number; the same two figures give the norm's sums backwards.

// A position of the small gate's samples: between two rows (or columns), `share` of the second.
struct Between {
  int first, second;
  double share;
};

template <class T>
struct Gate {
  int channels, hidden, outputs, height, width, rows, columns, strip;  // rows × columns: positions of the gate
  bool small;
  Pointwise<T> reduce;
  int64_t weight, bias;
  T *z, *number, *along, *seen;  // per image: the map; by channel: how many are above 0, and Σ (z - mean) of these
  double *pooled, *tangent;
  T* pull;  // per image and channel: the gradient of an active position
  Between *down_rows, *down_columns;
  int* dense;
  bool attached = true;  // whether a gradient goes back to what the gate reads

  size_t positions() const { return static_cast<size_t>(rows) * columns; }
  bool single() const { return rows == 1 && columns == 1; }

  void place(Layout& at, Pieces& memory, int images, int c, int paths, int h, int w, bool shrinks) {
    channels = c, hidden = c / 2, outputs = paths, height = h, width = w, small = shrinks;
    rows = small ? most(h / 4, 1) : h, columns = small ? most(w / 4, 1) : w;
    strip = strip_rows(rows, columns, c);
    reduce.place(at, memory, c, hidden);
    weight = at.parameter(), bias = at.parameter();
    z = take<T>(memory, images * positions() * reduce.out_width);
    for (T** one : {&number, &along, &pull}) *one = take<T>(memory, static_cast<size_t>(images) * reduce.out_width);
    seen = take<T>(memory, static_cast<size_t>(images) * reduce.in_width);
    pooled = take<double>(memory, static_cast<size_t>(images) * hidden);
    tangent = take<double>(memory, static_cast<size_t>(images) * outputs);
    down_rows = take<Between>(memory, rows), down_columns = take<Between>(memory, columns);
    dense = take<int>(memory, strip * columns);
  }
  void fill_tables() {
    const bool exact = height >= 4 && width >= 4;  // sampled at exactly 4 positions a step, as released
    for (int i = 0; i < rows; ++i) down_rows[i] = between(i, exact ? 4.0 : double(height) / rows, height);
    for (int i = 0; i < columns; ++i) down_columns[i] = between(i, exact ? 4.0 : double(width) / columns, width);
    fill_offsets(dense, strip, columns, static_cast<long>(columns) * reduce.in_width, reduce.in_width, 0);
  }
  static Between between(int i, double step, int size) {
    const double at = (i + 0.5) * step - 0.5, inside = at < 0 ? 0 : at;
    const int first = least(static_cast<int>(inside), size - 1);
    return {first, least(first + 1, size - 1), inside - first};
  }

  const T* rows_of(const T* x, int first, int count, T* sampled) const {
    const int c = reduce.in_width;
    if (!small) return x + static_cast<long>(first) * width * c;
    T* o = sampled;
    for (int i = first; i < first + count; ++i)
      for (int j = 0; j < columns; ++j)
        for (int k = 0; k < c; k += LANES<T>, o += LANES<T>) {
          V<T> v = {};
          corners(*this, i, j, [&](long at, T share) { v = fma(load(x + at + k), fill(share), v); });
          store(o, v);
        }
    return sampled;
  }
  template <class F>
  INLINE void corners(const Gate& g, int i, int j, F each) {
    const Between &y = g.down_rows[i], &x = g.down_columns[j];
    const long c = g.reduce.in_width, top = static_cast<long>(y.first) * g.width,
               low = static_cast<long>(y.second) * g.width;
    each((top + x.first) * c, T((1 - y.share) * (1 - x.share)));
    each((top + x.second) * c, T((1 - y.share) * x.share));
    each((low + x.first) * c, T(y.share * (1 - x.share)));
    each((low + x.second) * c, T(y.share * x.share));
  }

  void forward(const T* x, int n, double* sums, Pieces scratch) const {
    T* moments = reduce.moments(scratch, strip * columns);
    T* sampled = take<T>(scratch, static_cast<size_t>(strip) * columns * reduce.in_width);
    for (int first = 0; first < rows; first += strip) {
      const int count = least(strip, rows - first);
      const T* from = rows_of(x, first, count, sampled);
      if (single()) __builtin_memcpy(seen + static_cast<long>(n) * reduce.in_width, from, reduce.in_width * sizeof(T));
      reduce.forward(from, count * columns,
                     z + (n * positions() + static_cast<long>(first) * columns) * reduce.out_width, sums, moments);
    }
  }

  void pool(const Run<T>& run, int n) const {
    const Norm<T>& norm = reduce.norm;
    const T* map = z + n * positions() * norm.width;
    const long row = static_cast<long>(columns) * norm.width;
    for (int c = 0; c < norm.width; c += LANES<T>) {
      const V<T> s = load(norm.scale + c), t = load(norm.shift + c), mean = load(norm.mean + c), one = fill(T(1));
      V<T> count = {}, sum = {};
      for (int i = 0; i < rows; ++i) {
        V<T> row_sum = {};
        for (long p = i * row + c; p < (i + 1) * row; p += norm.width) {
          const V<T> y = load(map + p), active = fma(y, s, t);
          count += passed(one, active), row_sum += passed(y - mean, active);
        }
        sum += row_sum;
      }
      store(number + n * norm.width + c, count), store(along + n * norm.width + c, sum);
    }
    const T* b = run.parameters + norm.bias;
    for (int c = 0; c < hidden; ++c) {
      const long at = static_cast<long>(n) * norm.width + c;
      // scale · Σ (z - mean) + bias · number, with the mean as it is and not as it is rounded
      const double shift = b[c] + double(norm.scale[c]) * (double(norm.mean[c]) - norm.exact_mean[c]);
      pooled[n * hidden + c] = (double(norm.scale[c]) * along[at] + shift * number[at]) / double(positions());
    }
  }

  // factors: `outputs` of image n, before a route is forced and cells are closed.
  void factors(const Run<T>& run, int n, T* out) const {
    for (int p = 0; p < outputs; ++p) {
      double v = run.parameters[bias + p];
      for (int c = 0; c < hidden; ++c) v += double(run.parameters[weight + p * hidden + c]) * pooled[n * hidden + c];
      const double t = hyperbolic_tangent(v);
      tangent[n * outputs + p] = t;
      out[p] = T(t < 0 ? 0 : t);
    }
  }

  // At a single position, whether the images differ in what the gate reads. Where they do not, no gradient goes back:
  // the norm, with nothing to divide by but √ε, would multiply it in every cell of a chain that no image reached.
  void look(int images) {
    attached = true;
    if (!single()) return;
    double widest = 0, largest = 0;
    for (int c = 0; c < channels; ++c) {
      double first = 0, second = 0;
      for (int n = 0; n < images; ++n) {
        const double v = seen[static_cast<long>(n) * reduce.in_width + c];
        first += v, second += v * v;
      }
      first /= images, second /= images;
      if (second > largest) largest = second;
      if (second - first * first > widest) widest = second - first * first;
    }
    attached = widest > 1e-10 * largest;
  }

  // asked: images × outputs, the gradient of the factors as the gate gives them. Up to the map's gradient.
  void backward(Run<T>& run, const double* asked, double* sums) {
    T *dw = run.gradient + weight, *db = run.gradient + bias;
    for (int p = 0; p < outputs; ++p) {
      double to_bias = 0;
      for (int n = 0; n < run.images; ++n) to_bias += through(n, p, asked);
      db[p] = T(to_bias);
      for (int c = 0; c < hidden; ++c) {
        double to_weight = 0;
        for (int n = 0; n < run.images; ++n) to_weight += through(n, p, asked) * pooled[n * hidden + c];
        dw[p * hidden + c] = T(to_weight);
      }
    }
    __builtin_memset(sums, 0, reduce.norm.sums() * sizeof(double));
    for (int n = 0; n < run.images; ++n)
      for (int c = 0; c < hidden; ++c) {
        const long at = static_cast<long>(n) * reduce.out_width + c;
        double d = 0;
        for (int p = 0; p < outputs; ++p) d += through(n, p, asked) * run.parameters[weight + p * hidden + c];
        pull[at] = T(d / double(positions()));
        sums[c] += double(pull[at]) * number[at], sums[reduce.out_width + c] += double(pull[at]) * along[at];
      }
    reduce.norm.backward(run, sums);
  }
  double through(int n, int p, const double* asked) const {
    const double t = tangent[n * outputs + p];
    return t < 0 ? 0 : asked[n * outputs + p] * (1 - t * t);
  }

  // One image: adds to g_x what comes through the gate; part: the convolution's gradient.
  void backward(const T* x, int n, T* g_x, T* part, Pieces scratch) const {
    const Norm<T>& norm = reduce.norm;
    T* dz = take<T>(scratch, static_cast<size_t>(strip) * columns * norm.width);
    T* sampled = take<T>(scratch, static_cast<size_t>(strip) * columns * reduce.in_width);
    for (int first = 0; first < rows; first += strip) {
      const int count = least(strip, rows - first), pixels = count * columns;
      const T* y = z + (n * positions() + static_cast<long>(first) * columns) * norm.width;
      for (int c = 0; c < norm.width; c += LANES<T>) {
        const V<T> s = load(norm.scale + c), t = load(norm.shift + c), b = load(norm.B + c), d = load(norm.D + c);
        const V<T> a = load(norm.A + c) * load(pull + n * norm.width + c);
        for (long p = c; p < static_cast<long>(pixels) * norm.width; p += norm.width) {
          const V<T> v = load(y + p);
          store(dz + p, passed(a, fma(v, s, t)) + fma(v, b, d));
        }
      }
      const T* from = rows_of(x, first, count, sampled);
      if (!attached)
        outer(Outer<T>{dz, norm.width, hidden, from, reduce.in_width, reduce.in_width, pixels, part, reduce.in_width});
      else if (small)
        reduce.backward(dz, from, pixels, part, Put<T>{sampled, dense}), scatter(sampled, first, count, g_x);
      else
        reduce.backward(dz, from, pixels, part,
                        Add<T>{g_x + static_cast<long>(first) * width * reduce.in_width, dense});
    }
  }
  void scatter(const T* from, int first, int count, T* g_x) const {
    for (int i = first; i < first + count; ++i)
      for (int j = 0; j < columns; ++j)
        for (int k = 0; k < reduce.in_width; k += LANES<T>, from += LANES<T>)
          corners(*this, i, j,
                  [&](long at, T share) { store(g_x + at + k, fma(load(from), fill(share), load(g_x + at + k))); });
  }
};
