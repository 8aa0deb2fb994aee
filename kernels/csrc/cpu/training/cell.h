// A cell: h = ReLU(operation(x) · drop + x), sent on along its paths, each times the image's factor.
//
// Kept of a forward pass: x, what the four convolutions give (y1, y2, up, down) and the gate's map. Computed again
// where needed: everything between. The README has the passes as a table.

template <class T>
struct Cell {
  CellShape shape;
  int channels, width, height, columns, strip, images;  // width: padded channels
  Pair<T> first, second;
  Pointwise<T> to_up, to_down;
  Gate<T> gate;
  bool gated = false;
  T *x, *y1, *y2, *up = nullptr, *down = nullptr;
  T* factor;                 // images × kPaths, as applied
  T* drop;                   // per image
  uint8_t *passes, *opened;  // per image: hands x on unchanged; is open
  double* asked;             // images × paths: the factors' gradient
  struct Target {
    T* to;              // where a path arrives
    bool first;         // whether it is the first to
    const T* gradient;  // of what arrives
  } target[kPaths] = {};
  T* g_x;                       // the gradient of x
  T *g_middle, *g_up, *g_down;  // scratch maps, of gradients at norms' outputs
  int *dense, *every_second;

  bool has(int path) const { return shape.order[path] >= 0; }
  long pixels() const { return static_cast<long>(height) * columns; }
  long at(int n) const { return n * pixels() * width; }
  long at_up(int n) const { return n * pixels() * to_up.out_width; }
  long at_down(int n) const { return n * (pixels() / 4) * to_down.out_width; }

  void place(Layout& l, Pieces& memory, const CellShape& s, int n, int c, int h, int w, int gate_kind) {
    shape = s, images = n, channels = c, width = padded<T>(c), height = h, columns = w;
    strip = strip_rows(h, w, c);
    if (has(kDown) && strip % 2) ++strip;  // a strip begins at an even row
    first.place(l, memory, c, c, 1, h, w), second.place(l, memory, c, c, 1, h, w);
    if (has(kUp)) to_up.place(l, memory, c, c / 2), up = take<T>(memory, at_up(n));
    if (has(kDown)) to_down.place(l, memory, c, 2 * c), down = take<T>(memory, at_down(n));
    gated = gate_kind != kNoGate;
    if (gated) gate.place(l, memory, n, c, s.paths, h, w, gate_kind == kSmallGate);
    for (T** one : {&x, &y1, &y2}) *one = take<T>(memory, at(n));
    factor = take<T>(memory, kPaths * n), drop = take<T>(memory, n);
    passes = take<uint8_t>(memory, n), opened = take<uint8_t>(memory, n);
    asked = take<double>(memory, static_cast<size_t>(n) * s.paths);
    dense = take<int>(memory, strip * columns), every_second = take<int>(memory, strip * columns);
  }
  void needs(Run<T>& run) const {
    const size_t gate_sums = gated ? gate.reduce.norm.sums() : 0, gate_weights = gated ? gate.reduce.weights() : 0;
    run.needs(2 * width + gate_sums, first.weights() + gate_weights);
    run.needs(up_sums() + down_sums(), up_weights() + down_weights());
  }
  size_t up_sums() const { return has(kUp) ? to_up.norm.sums() : 0; }
  size_t down_sums() const { return has(kDown) ? to_down.norm.sums() : 0; }
  size_t up_weights() const { return has(kUp) ? to_up.weights() : 0; }
  size_t down_weights() const { return has(kDown) ? to_down.weights() : 0; }

  void fill_tables() {
    first.fill_tables(), second.fill_tables();
    if (gated) gate.fill_tables();
    fill_offsets(dense, strip, columns, static_cast<long>(columns) * width, width, 0);
    if (has(kDown)) fill_offsets(every_second, strip / 2, columns / 2, 2L * columns * width, 2L * width, 0);
  }

  void forward(Run<T>& run) {
    prepare(run);
    // F1: x → y1, and the gate's map
    const int own = 2 * width;
    over_images(run, shape.scale, own + (gated ? gate.reduce.norm.sums() : 0), 0,
                [&](int n, double* sums, T*, Pieces scratch) {
                  first.forward(x + at(n), nullptr, y1 + at(n), sums, scratch);
                  if (gated) gate.forward(x + at(n), n, sums + own, scratch);
                });
    first.point.norm.forward(run, run.sums, double(images) * pixels());
    if (gated) gate.reduce.norm.forward(run, run.sums + own, double(images) * gate.positions());
    // F2: y1 → y2, and the gate's mean
    over_images(run, shape.scale, own, 0, [&](int n, double* sums, T*, Pieces scratch) {
      second.forward(y1 + at(n), &first.point.norm, y2 + at(n), sums, scratch);
      if (gated) gate.pool(run, n);
    });
    second.point.norm.forward(run, run.sums, double(images) * pixels());
    decide(run);
    // F3: h → keep, and the two convolutions that leave the scale
    over_images(run, shape.scale, up_sums() + down_sums(), 0,
                [&](int n, double* sums, T*, Pieces scratch) { leave(n, sums, scratch); });
    if (has(kUp)) to_up.norm.forward(run, run.sums, double(images) * pixels());
    if (has(kDown)) to_down.norm.forward(run, run.sums + up_sums(), double(images) * (pixels() / 4));
    // F4: up and down, to where they arrive
    if (has(kUp) || has(kDown))
      over_images(run, shape.scale, 0, 0, [&](int n, double*, T*, Pieces scratch) {
        if (has(kUp)) send_enlarged(sending(kUp, n), target[kUp].to + 4 * at_up(n), target[kUp].first, scratch);
        if (has(kDown)) send(sending(kDown, n), target[kDown].to + at_down(n), target[kDown].first);
      });
  }

  // factors: images × all paths of the network, its own part of it; given: their gradient, or null.
  void backward(Run<T>& run, const T* given, long row) {
    __builtin_memset(asked, 0, sizeof(double) * images * shape.paths);
    // B1: what comes back along up and down
    if (has(kUp) || has(kDown)) {
      over_images(run, shape.scale, up_sums() + down_sums(), 0, [&](int n, double* sums, T*, Pieces scratch) {
        if (has(kUp))
          factor_gradient(n, kUp) =
              receive_enlarged(sending(kUp, n), target[kUp].gradient + 4 * at_up(n), g_up + at_up(n), sums, scratch);
        if (has(kDown))
          factor_gradient(n, kDown) = receive(sending(kDown, n), target[kDown].gradient + at_down(n),
                                              g_down + at_down(n), sums + up_sums(), scratch);
      });
      if (has(kUp)) to_up.norm.backward(run, run.sums);
      if (has(kDown)) to_down.norm.backward(run, run.sums + up_sums());
    }
    // B2: through the paths' convolutions and the last ReLU
    over_images(run, shape.scale, 2 * width, up_weights() + down_weights(),
                [&](int n, double* sums, T* part, Pieces scratch) { come_back(n, sums, part, scratch); });
    second.point.norm.backward(run, run.sums);
    if (has(kUp)) to_up.write(run, run.weights);
    if (has(kDown)) to_down.write(run, run.weights + up_weights());
    if (gated) gate_backward(run, given, row);
    // B3, B4: the two pairs, and the gate
    over_images(run, shape.scale, 2 * width, second.weights(), [&](int n, double* sums, T* part, Pieces scratch) {
      second.backward(y1 + at(n), &first.point.norm, g_x + at(n), drop[n], y2 + at(n), g_middle + at(n), sums, part,
                      scratch);
    });
    first.point.norm.backward(run, run.sums);
    second.write(run, run.weights);
    over_images(run, shape.scale, 0, first.weights() + (gated ? gate.reduce.weights() : 0),
                [&](int n, double*, T* part, Pieces scratch) {
                  if (passes[n]) add(target[kKeep].gradient + at(n), g_x + at(n));
                  if (gated) gate.backward(x + at(n), n, g_x + at(n), part + first.weights(), scratch);
                  first.backward(x + at(n), nullptr, g_middle + at(n), T(1), y1 + at(n), g_x + at(n), nullptr, part,
                                 scratch);
                });
    first.write(run, run.weights);
    if (gated) gate.reduce.write(run, run.weights + first.weights());
  }

 private:
  void prepare(const Run<T>& run) {
    first.prepare(run), second.prepare(run);
    if (has(kUp)) to_up.prepare(run);
    if (has(kDown)) to_down.prepare(run);
    if (gated) gate.reduce.prepare(run);
  }

  Sending<T> sending(int path, int n) const {
    const T f = factor[kPaths * n + path];
    return path == kUp ? Sending<T>{up + at_up(n), &to_up.norm, f, height, columns}
                       : Sending<T>{down + at_down(n), &to_down.norm, f, height / 2, columns / 2};
  }
  double& factor_gradient(int n, int path) { return asked[n * shape.paths + shape.order[path]]; }

  // Each image's factors as applied: the gate's or 1, only where a forced route goes, and 1 along keep alone where the
  // cell is closed; nothing where a forced route leaves it out.
  void decide(const Run<T>& run) {
    if (gated) gate.look(images);
    for (int n = 0; n < images; ++n) {
      T given[kPaths] = {T(1), T(1), T(1)}, total = 0;
      const uint8_t* mask = run.forced ? run.forced + n * run.paths + first_path : nullptr;
      if (gated && (!mask || run.gate_factors)) gate.factors(run, n, given);
      for (int p = 0; p < shape.paths; ++p) {
        if (mask && !mask[p]) given[p] = 0;
        total += given[p];
      }
      opened[n] = !(total < T(1e-4)), passes[n] = !opened[n] && !mask;
      for (int path = 0; path < kPaths; ++path)
        factor[kPaths * n + path] = has(path) && opened[n] ? given[shape.order[path]] : T(0);
      if (passes[n]) factor[kPaths * n + kKeep] = T(1);
    }
  }

  // Rows of h = ReLU(norm(y2) · drop + x).
  void hidden(T* h, int n, int row, int count) const {
    const Norm<T>& norm = second.point.norm;
    const long from = at(n) + static_cast<long>(row) * columns * width,
               size = static_cast<long>(count) * columns * width;
    for (int c = 0; c < width; c += LANES<T>) {
      const V<T> s = load(norm.scale + c) * drop[n], t = load(norm.shift + c) * drop[n];
      for (long p = c; p < size; p += width) store(h + p, relu(fma(load(y2 + from + p), s, t + load(x + from + p))));
    }
  }
  // The pixels of h that a stride of 2 reads, one after another.
  void gather(const T* h, int rows, T* out) const {
    for (int p = 0; p < rows / 2 * (columns / 2); ++p)
      __builtin_memcpy(out + p * width, h + every_second[p], width * sizeof(T));
  }
  static void add(const T* from, T* to, long count) {
    for (long p = 0; p < count; p += LANES<T>) store(to + p, load(to + p) + load(from + p));
  }
  void add(const T* from, T* to) const { add(from, to, pixels() * width); }

  void leave(int n, double* sums, Pieces scratch) const {
    T* h = take<T>(scratch, static_cast<size_t>(strip) * columns * width);
    T* quarter = take<T>(scratch, static_cast<size_t>(strip) * columns * width / 4);
    T *up_moments = to_up.moments(scratch, strip * columns),
      *down_moments = to_down.moments(scratch, strip * columns / 4);
    for (int row = 0; row < height; row += strip) {
      const int count = least(strip, height - row);
      const long from = at(n) + static_cast<long>(row) * columns * width;
      hidden(h, n, row, count);
      if (has(kKeep))
        keep(passes[n] ? x + from : h, factor[kPaths * n + kKeep], target[kKeep].to + from,
             static_cast<long>(count) * columns * width);
      if (has(kUp))
        to_up.forward(h, count * columns, up + at_up(n) + static_cast<long>(row) * columns * to_up.out_width, sums,
                      up_moments);
      if (has(kDown)) {
        gather(h, count, quarter);
        to_down.forward(quarter, count * columns / 4, down + at_down(n) + row * columns / 4L * to_down.out_width,
                        sums + up_sums(), down_moments);
      }
    }
  }
  void keep(const T* h, T share, T* to, long count) const {
    if (target[kKeep].first)
      for (long p = 0; p < count; p += LANES<T>) store(to + p, load(h + p) * share);
    else
      for (long p = 0; p < count; p += LANES<T>) store(to + p, fma(load(h + p), fill(share), load(to + p)));
  }

  // g_x = the gradient of h where h > 0, up to here; its sums are those of the second norm, drop included.
  void come_back(int n, double* sums, T* part, Pieces scratch) {
    const size_t strip_size = static_cast<size_t>(strip) * columns;
    T *h = take<T>(scratch, strip_size * width), *quarter = take<T>(scratch, strip_size * width / 4);
    T *dy = take<T>(scratch, strip_size * most(to_up.out_width, to_down.out_width)),
      *strip_sums = take<T>(scratch, 3 * width);
    for (int row = 0; row < height; row += strip) {
      const int count = least(strip, height - row), here = count * columns;
      const long from = at(n) + static_cast<long>(row) * columns * width;
      T* g = g_x + from;
      hidden(h, n, row, count);
      if (has(kUp)) {
        const long begin = at_up(n) + static_cast<long>(row) * columns * to_up.out_width;
        to_up.norm.gradient(dy, g_up + begin, up + begin, here, T(1));
        to_up.backward(dy, h, here, part, Put<T>{g, dense});
      } else {
        __builtin_memset(g, 0, sizeof(T) * here * width);
      }
      if (has(kDown)) {
        const long begin = at_down(n) + row * columns / 4L * to_down.out_width;
        gather(h, count, quarter);
        to_down.norm.gradient(dy, g_down + begin, down + begin, here / 4, T(1));
        to_down.backward(dy, quarter, here / 4, part + up_weights(), Add<T>{g, every_second});
      }
      masked(n, from, here, h, g, strip_sums);
      add_sums(sums, strip_sums, 2 * width);
      if (has(kKeep))
        for (int c = 0; c < width; ++c) factor_gradient(n, kKeep) += strip_sums[2 * width + c];
    }
  }
  // What comes along keep is added to g, and what h's ReLU does not let through taken away.
  void masked(int n, long from, int here, const T* h, T* g, T* strip_sums) const {
    const T share = passes[n] ? T(0) : factor[kPaths * n + kKeep];
    const T* sent = has(kKeep) ? target[kKeep].gradient + from : nullptr;
    const Norm<T>& norm = second.point.norm;
    const long row = static_cast<long>(columns) * width;
    __builtin_memset(strip_sums, 0, 3 * width * sizeof(T));
    for (long at_row = 0; at_row < static_cast<long>(here) * width; at_row += row)
      for (int c = 0; c < width; c += LANES<T>) {
        const V<T> mean = load(norm.mean + c);
        V<T> sum = {}, second_sum = {}, along = {};
        for (long p = at_row + c; p < at_row + row; p += width) {
          const V<T> active = load(h + p);
          V<T> v = load(g + p);
          if (sent) {
            const V<T> k = load(sent + p);
            v = fma(k, fill(share), v), along = fma(k, active, along);
          }
          v = passed(v, active);
          store(g + p, v);
          const V<T> dropped = v * drop[n];
          sum += dropped, second_sum = fma(dropped, load(y2 + from + p) - mean, second_sum);
        }
        add_to(strip_sums + c, sum), add_to(strip_sums + width + c, second_sum),
            add_to(strip_sums + 2 * width + c, along);
      }
  }

  void gate_backward(Run<T>& run, const T* given, long row) {
    for (int n = 0; n < images; ++n)
      for (int p = 0; p < shape.paths; ++p) {
        double& a = asked[n * shape.paths + p];
        if (given) a += given[n * row + first_path + p];
        const uint8_t* mask = run.forced ? run.forced + n * row + first_path : nullptr;
        if (!opened[n] || (mask && (!run.gate_factors || !mask[p]))) a = 0;
      }
    gate.backward(run, asked, run.chunk_sums[0]);
  }

 public:
  int first_path = 0;  // among all paths of the network
};
