// The open cells of a layer: dw3×3 → pw + bias + ReLU → dw3×3 → pw + bias + x → ReLU, then each open path, strip by strip.
//
// A task is a run of rows of one cell. It keeps a ring of the rows between the two pairs and overwrites x with what
// `keep` sends: a row of x is read for the last time before it is overwritten, save by the neighbouring tasks, for which
// the two rows on either side of each cut are saved beforehand.
//
// Scratch of a task (R rows a step): a ring of R + 2 rows with a zero pixel on both sides, the depthwise outputs of a
// block, and R rows of h where `keep` is closed.
#include <algorithm>
#include <cstring>

#include "network.h"
#include "pool.h"

namespace dynroute {

namespace {

constexpr int kBorder = 2;  // rows beyond a cut that a task reads: one per depthwise

}  // namespace

// x's rows beside the cut above chunk.first, as they are before any task runs.
void Network::save_borders(const Chunk& chunk) {
  const Map& x = x_[cells_[chunk.cell].scale];
  char* to = borders_[cells_[chunk.cell].scale] + 2 * kBorder * x.pitch * chunk.cut;
  std::memcpy(to, x.row(chunk.first - kBorder), 2 * kBorder * x.pitch);
}

void Network::run_rows(const Chunk& chunk, Pieces pieces) {
  const Cell& cell = cells_[chunk.cell];
  const Decision& d = decisions_[chunk.cell];
  const Map& x = x_[cell.scale];
  const int height = x.height, width = x.width, channels = x.channels, rows = block_rows(width);
  const size_t e = k_.element_size, pixel = x.pixel;
  // Where only `down` reads h, every second row and column of it is enough.
  const bool sparse = d.factor[kDown] > 0 && !(d.factor[kKeep] > 0) && !(d.factor[kUp] > 0);
  const bool in_place = d.factor[kKeep] > 0;

  const int ring_rows = rows + 2;
  char* ring = pieces.take(ring_rows * x.pitch);
  auto ring_row = [&](int row) { return ring + (row % ring_rows) * x.pitch; };
  for (int i = 0; i < ring_rows; ++i) {
    std::memset(ring + i * x.pitch, 0, pixel);
    std::memset(ring + i * x.pitch + (width + 1) * pixel, 0, pixel);
  }
  const int block = block_width(d_.channels << cell.scale, width);
  const long ld_inputs = channels + kAlign / e;
  char* inputs = pieces.take(ld_inputs * e * block * rows);
  char* hidden = in_place ? nullptr : pieces.take(rows * x.pitch);

  auto x_row = [&](int row) -> const char* {
    if (row < 0 || row >= height) return zeros_;
    const char* saved = borders_[cell.scale];
    if (row < chunk.first) return saved + (2 * kBorder * chunk.cut + row - chunk.first + kBorder) * x.pitch;
    if (row >= chunk.last) return saved + (2 * kBorder * (chunk.cut + 1) + row - chunk.last + kBorder) * x.pitch;
    return x.row(row);
  };
  auto t_row = [&](int row) -> const char* { return row < 0 || row >= height ? zeros_ : ring_row(row); };

  // Depthwise and pointwise of `count` rows, `step` apart (and so their columns), from `source` to `out`.
  auto pair = [&](int which, auto source, int from, int count, int step, char* const* out, const char* const* residual,
                  float scale) {
    const Convolution& pointwise = cell.pointwise[which];
    const int columns = width / step;
    for (int column = 0; column < columns; column += block) {
      const int wide = std::min(block, columns - column);
      const void* a[kMaxRows];
      void* o[kMaxRows];
      const void* r[kMaxRows];
      for (int i = 0; i < count; ++i) {
        char* to = inputs + ld_inputs * e * block * i;
        Depthwise dw;
        for (int tap = 0; tap < 3; ++tap) dw.rows[tap] = source(from + i * step + tap - 1) + pixel * step * column;
        dw.w = cell.depthwise[which].data();
        dw.out = to;
        dw.ldo = ld_inputs;
        dw.width = wide;
        dw.channels = channels;
        dw.stride = step;
        k_.depthwise(dw);
        a[i] = to;
        o[i] = out[i] + pixel * column;
        if (residual) r[i] = residual[i] + pixel * step * column;
      }
      Gemm g;
      g.a = a;
      g.lda = ld_inputs;
      set_weights(g, pointwise);
      g.rows = count;
      g.width = wide;
      g.out = o;
      g.ldo = channels;
      g.residual = residual ? r : nullptr;
      g.ldr = static_cast<long>(channels) * step;
      g.scale_out = scale;
      k_.gemm(g);
    }
  };

  int next = std::max(0, chunk.first - 1);
  for (int first = chunk.first; first < chunk.last; first += rows) {
    const int count = std::min(rows, chunk.last - first);
    char* out[kMaxRows];
    const char* residual[kMaxRows];
    for (const int until = std::min(height, first + count + 1); next < until;) {
      const int batch = std::min(rows, until - next);
      for (int i = 0; i < batch; ++i) out[i] = ring_row(next + i) + pixel;
      pair(0, x_row, next, batch, 1, out, nullptr, 1);
      next += batch;
    }
    const int step = sparse ? 2 : 1, begin = sparse ? first + first % 2 : first;
    const int wanted = (first + count - begin + step - 1) / step;
    for (int i = 0; i < wanted; ++i) {
      residual[i] = x.inside(begin + i * step);
      out[i] = in_place ? x.inside(begin + i * step) : hidden + i * x.pitch;
    }
    if (wanted > 0) pair(1, t_row, begin, wanted, step, out, residual, in_place ? d.factor[kKeep] : 1);
    send(cell, d, out, begin, wanted, step);
  }
}

// Along `up` and `down`, from rows of h that `keep` may have scaled by its factor: that is undone in the sum.
void Network::send(const Cell& cell, const Decision& d, char* const* h, int first, int rows, int step) {
  const Map& x = x_[cell.scale];
  const float keep = d.factor[kKeep];
  const void* a[kMaxRows];
  void* out[kMaxRows];
  Gemm g;
  g.a = a;
  g.out = out;
  g.scale_in = keep > 0 ? 1 / keep : 1;
  auto along = [&](const Convolution& c, float factor, const Map& to) {
    if (!g.rows) return;
    set_weights(g, c);
    g.ldo = to.channels;
    g.scale_out = factor;
    k_.gemm(g);
  };
  if (d.factor[kUp] > 0) {
    const Map& to = up_[cell.scale - 1];
    for (g.rows = 0; g.rows < rows; ++g.rows) {
      a[g.rows] = h[g.rows];
      out[g.rows] = to.inside(first + g.rows);
    }
    g.lda = x.channels;
    g.width = x.width;
    along(cell.up, d.factor[kUp], to);
  }
  if (d.factor[kDown] > 0) {
    const Map& to = down_[cell.scale + 1];
    g.rows = 0;
    for (int i = 0; i < rows; ++i) {
      if ((first + i * step) % 2) continue;
      a[g.rows] = h[i];
      out[g.rows++] = to.inside((first + i * step) / 2);
    }
    g.lda = static_cast<long>(x.channels) * (step == 2 ? 1 : 2);
    g.width = x.width / 2;
    along(cell.down, d.factor[kDown], to);
  }
}

// Cells [begin, end) are one layer; fills the slots of the next.
void Network::run_cells(size_t begin, size_t end) {
  chunks_.clear();
  std::vector<int>& cuts = cuts_;
  cuts.clear();
  for (size_t i = begin; i < end; ++i) {
    const Cell& cell = cells_[i];
    const Decision& d = decisions_[i];
    const int scale = cell.scale;
    slots_[scale].keep |= d.factor[kKeep] > 0;
    slots_[scale].reached |= d.state == kOpen ? cell.order[kKeep] >= 0 : d.factor[kKeep] > 0;
    if (!d.open) continue;
    if (cell.order[kUp] >= 0) {
      slots_[scale - 1].reached = true;
      slots_[scale - 1].up = d.factor[kUp] > 0;
    }
    if (cell.order[kDown] >= 0) {
      slots_[scale + 1].reached = true;
      slots_[scale + 1].down = d.factor[kDown] > 0;
    }
    if (!(d.factor[kKeep] > 0 || d.factor[kUp] > 0 || d.factor[kDown] > 0)) continue;
    const int height = x_[scale].height, parts = std::clamp(height / 8, 1, threads_ == 1 ? 1 : 2 * threads_);
    for (int part = 0; part < parts; ++part) {
      const int first = height / 2 * part / parts * 2;
      const int last = part == parts - 1 ? height : height / 2 * (part + 1) / parts * 2;
      if (part > 0) cuts.push_back(static_cast<int>(chunks_.size()));
      chunks_.push_back({static_cast<int>(i), first, last, part});
    }
  }
  Pool& pool = Pool::shared();
  pool.run(threads_, static_cast<int>(cuts.size()), [&](int task, int) { save_borders(chunks_[cuts[task]]); });
  pool.run(threads_, static_cast<int>(chunks_.size()),
           [&](int task, int thread) { run_rows(chunks_[task], scratch(thread)); });
}

}  // namespace dynroute
