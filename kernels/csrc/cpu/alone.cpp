// One operation by itself, for the benchmark of operations and its tests: the caller fills the maps that it reads, runs
// it, and reads what it wrote. A whole network never comes here.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "network.h"
#include "pool.h"

namespace dynroute {

Map& Network::whole_map(int kind, int scale) {
  const bool exists = kind == kMapX ? scale >= 0 && scale < kScales
                                    : kind == kMapDown ? scale > 0 && scale < kScales
                                                       : kind == kMapUp && scale >= 0 && scale < kScales - 1;
  if (!exists || !height_) throw std::invalid_argument("no such map, or no plan yet");
  return kind == kMapX ? x_[scale] : kind == kMapDown ? down_[scale] : up_[scale];
}

void Network::fill(int kind, int scale, const char* values) {
  const Map& m = whole_map(kind, scale);
  const size_t given = static_cast<size_t>(d_.channels << scale) * k_.element_size;
  for (int row = 0; row < m.height; ++row) {
    char* to = m.inside(row);
    if (given < m.pixel) std::memset(to, 0, m.width * m.pixel);
    for (int column = 0; column < m.width; ++column, to += m.pixel, values += given) std::memcpy(to, values, given);
  }
}

void Network::read(int kind, int scale, char* values) {
  const Map& m = whole_map(kind, scale);
  const size_t wanted = static_cast<size_t>(d_.channels << scale) * k_.element_size;
  for (int row = 0; row < m.height; ++row) {
    const char* from = m.inside(row);
    for (int column = 0; column < m.width; ++column, from += m.pixel, values += wanted) std::memcpy(values, from, wanted);
  }
}

// came: a bit per Path. Without `gated`, the gate is left out.
void Network::arrive_alone(size_t index, int came, bool gated, float* factors) {
  const Cell& cell = cells_[index];
  Slot& slot = slots_[cell.scale];
  slot = Slot{true, (came >> kKeep & 1) != 0, (came >> kUp & 1) != 0, (came >> kDown & 1) != 0};
  const std::vector<uint8_t> all(path_offset_.back() + cells_.back().path_count, 1);
  arrive(index, index + 1, Forced{gated ? nullptr : all.data(), false});
  for (int path = 0; path < kPaths; ++path)
    if (cell.order[path] >= 0) factors[cell.order[path]] = decisions_[index].factor[path];
}

// factors: keep, up, down.
void Network::cell_alone(size_t index, const float* factors) {
  Decision& d = decisions_[index];
  d = Decision{};
  d.open = true;
  d.state = kOpen;
  for (int path = 0; path < kPaths; ++path) d.factor[path] = cells_[index].order[path] >= 0 ? factors[path] : 0.0f;
  run_cells(index, index + 1);
}

// What `up` or `down` sends, of h in x: read from the map, where a cell has it in the cache.
void Network::send_alone(size_t index, int path, float factor) {
  const Cell& cell = cells_[index];
  const Map& x = x_[cell.scale];
  if ((path != kUp && path != kDown) || cell.order[path] < 0) throw std::invalid_argument("the cell has no such path");
  Decision d;
  d.factor[path] = factor;
  const int step = std::max(block_rows(x.width), 2), tasks = std::clamp(x.height / 8, 1, 2 * threads_);
  Pool::shared().run(threads_, tasks, [&](int task, int) {
    const int last = task == tasks - 1 ? x.height : x.height / 2 * (task + 1) / tasks * 2;
    for (int first = x.height / 2 * task / tasks * 2; first < last; first += step) {
      char* h[kMaxRows];
      const int rows = std::min(step, last - first);
      for (int row = 0; row < rows; ++row) h[row] = x.inside(first + row);
      send(cell, d, h, first, rows, 1);
    }
  });
}

void Network::predict_alone(float* quarter) {
  for (Slot& slot : slots_) slot.keep = true;
  predict();
  if (quarter) std::memcpy(quarter, quarter_, sizeof(float) * d_.classes * x_[0].height * x_[0].width);
}

void Network::enlarge_alone(const float* quarter, const Image& image, const Outputs& out) {
  if (quarter) std::memcpy(quarter_, quarter, sizeof(float) * d_.classes * x_[0].height * x_[0].width);
  if (out.logits || out.labels) enlarge(out, image);
}

}  // namespace dynroute
