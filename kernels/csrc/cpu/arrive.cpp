// What arrives at a layer's cells is summed into their maps, in place; the gates read it on the way, and decide.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "network.h"
#include "pool.h"

namespace dynroute {

// v: the vertical half of the ×2 enlargement of `up`, for `row` of the finer map.
void Network::blend_up(const Map& up, int row, float* v) const {
  const int here = row / 2, beside = std::clamp(row % 2 ? here + 1 : here - 1, 0, up.height - 1);
  k_.blend(up.inside(here), up.inside(beside), 0.75f, 0.25f, static_cast<size_t>(up.width) * up.channels, v);
}

// Makes x hold the first of what arrives, and says what is still to be added. Where only `down` came, its buffer
// becomes x by exchange; where only `up` came, x is written by the enlargement; zeros where nothing came.
bool Network::settle_base(int scale, const Slot& slot) {
  bool down = slot.down, &in_x = in_x_[scale];
  in_x = slot.keep;
  if (!slot.keep && down) {
    std::swap(x_[scale].data, down_[scale].data);
    down = false;
    in_x = true;
  }
  if (!in_x && !slot.up) {
    Map& x = x_[scale];
    for (int row = 0; row < x.height; ++row) std::memset(x.inside(row), 0, x.width * x.pixel);
    in_x = true;
  }
  assemble_[scale][0] = down;
  assemble_[scale][1] = slot.up;
  return down || slot.up;
}

// What a gate sums of one row of pixels, kept by row so that no thread waits for another.
void Network::sum_row(const Cell& cell, int row, const void* inputs, int width) {
  const Convolution& reduce = cell.gate->reduce;
  float* sums = sums_[cell.scale] + static_cast<size_t>(row) * reduce.n;
  std::memset(sums, 0, sizeof(float) * reduce.n);
  const void* a[1] = {inputs};
  Gemm g;
  g.a = a;
  g.lda = x_[cell.scale].channels;
  set_weights(g, reduce);
  g.rows = 1;
  g.width = width;
  g.sums = &sums;
  k_.gemm(g);
}

void Network::arrive_rows(const Chunk& chunk, Pieces pieces) {
  const Cell& cell = cells_[chunk.cell];
  const Map& x = x_[cell.scale];
  const bool down = assemble_[cell.scale][0], up = assemble_[cell.scale][1];
  float* v = up ? pieces.floats(static_cast<size_t>(x.width / 2) * x.channels) : nullptr;
  const bool full_gate = decisions_[chunk.cell].gated && !d_.small_gate;
  for (int row = chunk.first; row < chunk.last; ++row) {
    if (up) blend_up(up_[cell.scale], row, v);
    if (up || down)
      k_.assemble(x.inside(row), in_x_[cell.scale] ? x.inside(row) : nullptr,
                  down ? down_[cell.scale].inside(row) : nullptr, v, x.width, x.channels);
    if (!full_gate) continue;
    sum_row(cell, row, x.inside(row), x.width);
  }
  if (decisions_[chunk.cell].gated && d_.small_gate) sampled_gate(chunk, pieces);
}

namespace {

// Where a side of n pixels is sampled to shrink to a quarter: half-pixel centres, at exactly 4 pixels a step where both
// sides have four, else at n / (shrunk size).
struct Samples {
  int count;
  double step;
  Samples(int n, bool exact) : count(std::max(n / 4, 1)), step(exact ? 4.0 : static_cast<double>(n) / count) {}
  void at(int i, int n, int* first, int* second, float* share) const {
    const double place = std::max((i + 0.5) * step - 0.5, 0.0);
    *first = std::min(static_cast<int>(place), n - 1);
    *second = std::min(*first + 1, n - 1);
    *share = static_cast<float>(place - *first);
  }
};

}  // namespace

// The small gate, on those of the sampled rows that begin in this chunk. A chunk begins at a multiple of 4 rows (or is
// the whole map), so both source rows of a sample lie in it.
void Network::sampled_gate(const Chunk& chunk, Pieces pieces) {
  const Cell& cell = cells_[chunk.cell];
  const Map& x = x_[cell.scale];
  const bool exact = std::min(x.height, x.width) >= 4;
  const Samples rows(x.height, exact), columns(x.width, exact);
  float* blended = pieces.floats(static_cast<size_t>(x.width) * x.channels);
  int* first = reinterpret_cast<int*>(pieces.floats(columns.count));
  int* second = reinterpret_cast<int*>(pieces.floats(columns.count));
  float* share = pieces.floats(columns.count);
  char* inputs = pieces.take(columns.count * x.pixel);
  for (int j = 0; j < columns.count; ++j) columns.at(j, x.width, first + j, second + j, share + j);
  for (int i = 0; i < rows.count; ++i) {
    int above, below;
    float weight;
    rows.at(i, x.height, &above, &below, &weight);
    if (above < chunk.first || above >= chunk.last) continue;
    k_.blend(x.inside(above), x.inside(below), 1 - weight, weight, static_cast<size_t>(x.width) * x.channels, blended);
    k_.sample(blended, first, second, share, columns.count, x.channels, inputs);
    sum_row(cell, i, inputs, columns.count);
  }
}

// Factors and state of one cell, once its sums are there.
void Network::decide(size_t index, const Forced& forced) {
  const Cell& cell = cells_[index];
  Decision& d = decisions_[index];
  const bool reached = slots_[cell.scale].reached;
  float factors[kPaths];
  std::fill(factors, factors + kPaths, reached ? 1.0f : 0.0f);
  if (d.gated) {
    const Gate& gate = *cell.gate;
    const Map& x = x_[cell.scale];
    const int rows = d_.small_gate ? std::max(x.height / 4, 1) : x.height;
    const int columns = d_.small_gate ? std::max(x.width / 4, 1) : x.width;
    double logits[kPaths] = {};
    for (int c = 0; c < gate.width; ++c) {
      double sum = 0;
      for (int row = 0; row < rows; ++row) sum += sums_[cell.scale][static_cast<size_t>(row) * gate.reduce.n + c];
      for (int p = 0; p < cell.path_count; ++p)
        logits[p] += sum / (static_cast<double>(rows) * columns) * gate.factors[static_cast<size_t>(p) * gate.width + c];
    }
    for (int p = 0; p < cell.path_count; ++p)
      factors[p] = std::max(0.0f, static_cast<float>(std::tanh(logits[p] + gate.bias[p])));
  }
  float sum = 0;
  for (int p = 0; p < cell.path_count; ++p) {
    if (forced.mask && !forced.mask[path_offset_[index] + p]) factors[p] = 0;
    if (forced.mask && !forced.gate_factors) factors[p] = forced.mask[path_offset_[index] + p] ? 1.0f : 0.0f;
    sum += factors[p];
  }
  d.open = reached && sum >= kOpenThreshold;
  const bool passes_on = reached && !d.open && !forced.mask;
  d.state = !reached ? kDead : d.open ? kOpen : kClosed;
  for (int path = 0; path < kPaths; ++path)
    d.factor[path] = d.open && cell.order[path] >= 0 ? factors[cell.order[path]] : 0.0f;
  if (passes_on) d.factor[kKeep] = 1;
}

// Cells [begin, end) are one layer.
void Network::arrive(size_t begin, size_t end, const Forced& forced) {
  chunks_.clear();
  for (size_t i = begin; i < end; ++i) {
    const Cell& cell = cells_[i];
    Slot& slot = slots_[cell.scale];
    Decision& d = decisions_[i];
    d = Decision{};
    d.gated = slot.reached && cell.gate && (!forced.mask || forced.gate_factors);
    bool wanted = slot.reached && (!forced.mask || d.gated);
    for (int p = 0; forced.mask && p < cell.path_count; ++p)
      wanted |= slot.reached && forced.mask[path_offset_[i] + p];
    if (!wanted) continue;  // a forced route leaves it out, or nothing came
    const bool adds = settle_base(cell.scale, slot);
    if (!adds && !d.gated) continue;
    const int height = x_[cell.scale].height;
    const bool whole = d_.small_gate && (height % 4 || std::min(height, x_[cell.scale].width) < 4);
    const int parts = whole ? 1 : std::min(std::max(height / 4, 1), 4 * threads_);
    for (int part = 0; part < parts; ++part) {
      const int first = height / 4 * part / parts * 4, last = height / 4 * (part + 1) / parts * 4;
      chunks_.push_back({static_cast<int>(i), parts == 1 ? 0 : first, part == parts - 1 ? height : last});
    }
  }
  Pool::shared().run(threads_, static_cast<int>(chunks_.size()),
                     [&](int task, int thread) { arrive_rows(chunks_[task], scratch(thread)); });
  for (size_t i = begin; i < end; ++i) decide(i, forced);
}

}  // namespace dynroute
