// Reads a network's description and packs its weights; runs an image through the stages.
#include "network.h"

#include <cstring>
#include <stdexcept>

#include "pool.h"

namespace dynroute {

// Walks the flat array of weights in the order in which api.cpp documents them.
class Network::Reader {
 public:
  Reader(const float* data, size_t count) : data_(data), left_(count) {}
  const float* take(size_t count) {
    if (count > left_) throw std::invalid_argument("fewer weights than the description needs");
    const float* at = data_;
    data_ += count;
    left_ -= count;
    return at;
  }
  void finish() const {
    if (left_) throw std::invalid_argument("more weights than the description needs");
  }

 private:
  const float* data_;
  size_t left_;
};

int Network::padded(int channels) const {
  return (channels + k_.channel_multiple - 1) / k_.channel_multiple * k_.channel_multiple;
}

// n×(segments·k) weights; inputs of each segment are padded by themselves. image: the kernels of the first convolution.
Convolution Network::convolution(Reader& from, int n, int k, int segments, bool biased, bool image) {
  Convolution c;
  c.n = padded(n);
  c.k = image ? k : padded(k);
  const float* w = from.take(static_cast<size_t>(n) * segments * k);
  std::vector<float> spread;
  if (c.k != k) {
    spread.assign(static_cast<size_t>(n) * segments * c.k, 0.0f);
    for (int i = 0; i < n * segments; ++i)
      std::memcpy(&spread[static_cast<size_t>(i) * c.k], w + static_cast<size_t>(i) * k, sizeof(float) * k);
    w = spread.data();
  }
  const int inputs = segments * c.k;
  c.storage.resize(k_.packed_size(c.n, inputs) * (image ? sizeof(float) : k_.element_size) + kAlign);
  const auto at = reinterpret_cast<uintptr_t>(c.storage.data());
  c.weights = reinterpret_cast<void*>(aligned(at));
  (image ? k_.pack_image : k_.pack)(w, n, inputs, c.n, inputs, const_cast<void*>(c.weights));
  c.bias.assign(c.n, 0.0f);
  if (biased) std::memcpy(c.bias.data(), from.take(n), sizeof(float) * n);
  return c;
}

std::vector<float> Network::depthwise(Reader& from, int channels) {
  std::vector<float> packed(9 * static_cast<size_t>(padded(channels)));
  k_.pack_depthwise(from.take(9 * static_cast<size_t>(channels)), channels, padded(channels), packed.data());
  return packed;
}

void Network::read_cells(Reader& from, const int64_t* cells, int count) {
  size_t paths = 0;
  for (int i = 0; i < count; ++i, cells += 5) {
    Cell cell;
    cell.layer = static_cast<int>(cells[0]);
    cell.scale = static_cast<int>(cells[1]);
    cell.path_count = static_cast<int>(cells[2]);
    if (cell.scale < 0 || cell.scale >= kScales || cell.path_count < 1 || cell.path_count > kPaths)
      throw std::invalid_argument("a cell's scale or number of paths is out of range");
    for (int64_t place = 0, codes = cells[3]; place < cell.path_count; ++place, codes /= 4)
      cell.order[codes % 4] = static_cast<int>(place);
    const int channels = d_.channels << cell.scale;
    for (int pair = 0; pair < 2; ++pair) {
      cell.depthwise[pair] = depthwise(from, channels);
      cell.pointwise[pair] = convolution(from, channels, channels, 1, true);
    }
    if (cell.order[kUp] >= 0) cell.up = convolution(from, channels / 2, channels, 1, true);
    if (cell.order[kDown] >= 0) cell.down = convolution(from, channels * 2, channels, 1, true);
    if (cells[4]) {
      cell.gate = std::make_unique<Gate>();
      Gate& gate = *cell.gate;
      gate.width = channels / 2;
      gate.reduce = convolution(from, gate.width, channels, 1, true);
      const float* w = from.take(static_cast<size_t>(cell.path_count) * gate.width);
      gate.factors.assign(w, w + static_cast<size_t>(cell.path_count) * gate.width);
      const float* b = from.take(cell.path_count);
      gate.bias.assign(b, b + cell.path_count);
    }
    path_offset_.push_back(paths);
    paths += cell.path_count;
    cells_.push_back(std::move(cell));
  }
}

Network::Network(const Kernels& kernels, const Description& description, const int64_t* cells, int cell_count,
                 const float* weights, size_t weight_count)
    : k_(kernels), d_(description) {
  Reader from(weights, weight_count);
  first_ = convolution(from, d_.stem_channels, 9, 3, true, true);
  for (int pair = 0; pair < 2; ++pair) {
    stem_depthwise_[pair] = depthwise(from, d_.stem_channels);
    stem_pointwise_[pair] = convolution(from, pair ? d_.channels : d_.stem_channels, d_.stem_channels, 1, true);
  }
  read_cells(from, cells, cell_count);
  for (int scale = 1; scale < d_.head_scales; ++scale)
    narrow_.push_back(convolution(from, d_.channels << (scale - 1), d_.channels << scale, 1, true));
  fuse_ = convolution(from, d_.channels, d_.channels, 1, true);
  // The three columns of a row are one run of the kernels, each column's channels padded: nine runs of C here.
  predictor_ = convolution(from, d_.classes, d_.channels, 9, true);
  predictor_.k *= 3;
  from.finish();
  decisions_.resize(cells_.size());
}

void Network::release() {
  arena_.release();
  height_ = 0;
}

void Network::run(const Image& image, const Forced& forced, int threads, const Outputs& out) {
  std::lock_guard<std::mutex> lock(Pool::shared().busy);
  plan(image.height, image.width, threads);
  stem(image);
  for (Slot& slot : slots_) slot = Slot{};
  slots_[0].reached = slots_[0].keep = true;
  for (size_t begin = 0, end; begin < cells_.size(); begin = end) {
    for (end = begin; end < cells_.size() && cells_[end].layer == cells_[begin].layer; ++end) {
    }
    arrive(begin, end, forced);
    for (Slot& slot : slots_) slot = Slot{};
    run_cells(begin, end);
  }
  predict();
  enlarge(out, image);
  for (size_t i = 0; i < cells_.size(); ++i) {
    out.states[i] = decisions_[i].state;
    for (int path = 0; path < kPaths; ++path)
      if (cells_[i].order[path] >= 0) out.factors[path_offset_[i] + cells_[i].order[path]] = decisions_[i].factor[path];
  }
}

}  // namespace dynroute
