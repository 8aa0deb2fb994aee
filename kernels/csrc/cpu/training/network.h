// The network: stem, cells in forward order, head; one block of memory for all of it.
//
// Order of the parameters: stem: first convolution, then per norm weight and bias; twice: depthwise, pointwise, norm.
// Per cell: the two pairs likewise; up: pointwise, norm; down; gate: pointwise, norm, weight, bias. Head: narrow from
// scale 1 up, fuse: pointwise, norm; predictor: weight, bias. Of the statistics: each norm's mean and variance.
// Convolutions' weights lie as (output, row, column, input).

template <class T>
class Network final : public Step {
 public:
  explicit Network(const Shape& shape) : shape_(shape), cells_(new Cell<T>[shape.cell_count]) {
    Pieces counting;
    place(counting);
    memory_.reserve(counting.used());
    Pieces placing(memory_.base(), memory_.bytes());
    place(placing);
    stem_.fill_tables(), head_.fill_tables();
    for (int i = 0; i < shape.cell_count; ++i) cells_[i].fill_tables();
    connect();
  }
  ~Network() override { delete[] cells_; }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void forward(const Forward& given, int threads) override {
    prepare_threads(threads);
    run_.parameters = static_cast<const T*>(given.parameters), run_.statistics = static_cast<T*>(given.statistics);
    run_.momentum = given.momentum, run_.gate_factors = given.gate_factors;
    keep_route(given.forced);
    stem_.forward(run_, given.images, shape_.height, shape_.width, cells_[0].x);
    const T* drop = static_cast<const T*>(given.drop);
    for (int i = 0; i < shape_.cell_count; ++i) {
      for (int n = 0; n < shape_.images; ++n) cells_[i].drop[n] = drop ? drop[i * shape_.images + n] : T(1);
      cells_[i].forward(run_);
    }
    head_.forward(run_, static_cast<T*>(given.logits));
    tell(static_cast<T*>(given.factors), given.open);
  }

  void backward(const Backward& given, int threads) override {
    prepare_threads(threads);
    run_.gradient = static_cast<T*>(given.parameters);
    head_.backward(run_, static_cast<const T*>(given.logits));
    for (int i = shape_.cell_count - 1; i >= 0; --i)
      cells_[i].backward(run_, static_cast<const T*>(given.factors), shape_.path_count);
    stem_.backward(run_, cells_[0].g_x);
  }

  double cross_entropy(const CrossEntropy& given, int threads) override {
    prepare_threads(threads);
    const int64_t pixels = int64_t(shape_.images) * shape_.height * shape_.width;
    for (int64_t i = 0; i < pixels; ++i)
      if (given.labels[i] >= shape_.classes && given.labels[i] != IGNORED)
        throw std::invalid_argument("a label that is none of the classes and not 255");
    const EnlargedLoss<T> loss{shape_.classes,
                               height() / 4,
                               width() / 4,
                               shape_.height,
                               shape_.width,
                               static_cast<const T*>(given.logits),
                               static_cast<const T*>(given.weights),
                               given.labels,
                               static_cast<T*>(given.gradient)};
    over_images(run_, 0, 1, 0, [&](int n, double* sums, T*, Pieces scratch) { sums[0] += loss.image(n, scratch); });
    return run_.sums[0];
  }

  size_t bytes() const override { return memory_.bytes() + scratch_.bytes(); }

 private:
  int height() const { return (shape_.height + 31) / 32 * 32; }
  int width() const { return (shape_.width + 31) / 32 * 32; }
  int rows(int scale) const { return height() / 4 >> scale; }
  int columns(int scale) const { return width() / 4 >> scale; }
  size_t map(int scale) const {
    return static_cast<size_t>(shape_.images) * rows(scale) * columns(scale) * padded<T>(shape_.channels << scale);
  }

  void place(Pieces& memory) {
    Layout at{shape_.parameters, shape_.statistics};
    run_.images = shape_.images, run_.epsilon = shape_.epsilon, run_.paths = shape_.path_count;
    stem_.place(at, memory, shape_.images, shape_.middle, shape_.channels, height(), width());
    for (int c = 0; c < 3; ++c) stem_.mean[c] = shape_.mean[c];
    for (int i = 0, path = 0; i < shape_.cell_count; path += shape_.cells[i++].paths) {
      const CellShape& cell = shape_.cells[i];
      cells_[i].first_path = path;
      cells_[i].place(at, memory, cell, shape_.images, shape_.channels << cell.scale, rows(cell.scale),
                      columns(cell.scale), shape_.gate);
      cells_[i].needs(run_);
    }
    head_.place(at, memory, shape_, rows(0), columns(0));
    stem_.needs(run_), head_.needs(run_);
    run_.place(memory);
    forced_ = take<uint8_t>(memory, static_cast<size_t>(shape_.images) * shape_.path_count);
    for (int s = 0; s < kScales; ++s)
      for (T*& one : gradients_[s]) one = take<T>(memory, map(s));
    middle_ = take<T>(memory, map(0)), up_ = take<T>(memory, map(0)), down_ = take<T>(memory, map(0));
  }

  // Two sets of gradients by scale, of even and odd layers' inputs; paths lead from a layer to the next.
  void connect() {
    for (int i = 0; i < shape_.cell_count; ++i) {
      Cell<T>& cell = cells_[i];
      cell.g_x = gradients_[cell.shape.scale][(cell.shape.layer + 1) % 2];
      cell.g_middle = middle_, cell.g_up = up_, cell.g_down = down_;
    }
    bool* reached = new bool[shape_.cell_count]();
    for (int i = 0; i < shape_.cell_count; ++i)
      for (int path = 0; path < kPaths; ++path)
        if (cells_[i].has(path)) connect(cells_[i], path, reached);
    delete[] reached;
  }
  void connect(Cell<T>& cell, int path, bool* reached) {
    const int scale = cell.shape.scale + (path == kUp ? -1 : path == kDown ? 1 : 0);
    for (int i = 0; i < shape_.cell_count; ++i)
      if (cells_[i].shape.layer == cell.shape.layer + 1 && cells_[i].shape.scale == scale) {
        cell.target[path] = {cells_[i].x, !reached[i], cells_[i].g_x};
        reached[i] = true;
        return;
      }
    cell.target[path] = {head_.feature[scale], true, head_.g_feature[scale]};
    head_.arrived[scale] = true;
  }

  // A copy, since the backward pass needs it too.
  void keep_route(const uint8_t* forced) {
    if (forced) __builtin_memcpy(forced_, forced, static_cast<size_t>(shape_.images) * shape_.path_count);
    run_.forced = forced ? forced_ : nullptr;
  }

  void tell(T* factors, uint8_t* open) const {
    for (int i = 0; i < shape_.cell_count; ++i) {
      const Cell<T>& cell = cells_[i];
      for (int n = 0; n < shape_.images; ++n) {
        open[n * shape_.cell_count + i] = cell.opened[n];
        for (int path = 0; path < kPaths; ++path)
          if (cell.has(path))
            factors[n * shape_.path_count + cell.first_path + cell.shape.order[path]] = cell.factor[kPaths * n + path];
      }
    }
  }

  // What a thread works with. An upper bound, of which only what is touched is ever real memory; Pieces checks it.
  void prepare_threads(int threads) {
    const size_t widest = padded<T>(most(shape_.channels << (kScales - 1), 2 * shape_.channels)) * (width() / 32 + 2);
    const size_t stem = padded<T>(most(shape_.middle, shape_.channels)) * (width() / 2 + 2);
    const size_t scale0 = padded<T>(most(shape_.channels, shape_.classes)) * (width() / 4 + 2);
    const size_t strips = 128 * (widest + stem + 4 * scale0) + 32 * 4096 * LANES<T>;
    const size_t loss =
        2ul * shape_.classes * (rows(0) + 8) * (columns(0) + 4 * LANES<T>)+32 * (columns(0) + 4 * LANES<T>);
    const size_t bytes = aligned((strips + loss) * sizeof(T));
    if (scratch_.bytes() < bytes * threads) scratch_.reserve(bytes * threads);
    run_.threads = threads, run_.scratch = scratch_.base(), run_.scratch_bytes = bytes;
  }

  Shape shape_;
  Cell<T>* cells_;
  Stem<T> stem_;
  Head<T> head_;
  Run<T> run_;
  Arena memory_, scratch_;
  uint8_t* forced_ = nullptr;
  T *gradients_[kScales][2], *middle_, *up_, *down_;
};
