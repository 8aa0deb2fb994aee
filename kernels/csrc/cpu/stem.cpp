// The stem, row by row: image → 3×3 stride 2 (no padding) → depthwise + pointwise → depthwise stride 2 + pointwise.
//
// A task makes a run of rows of x[0] and keeps three rows of each stage. Scratch of a task: 3 image rows (float32,
// BGR interleaved, so that three columns are one run of the kernels), 2 × 3 rows of stem channels with a zero pixel on
// both sides, and the depthwise outputs of one row.
#include <algorithm>
#include <cstring>

#include "network.h"
#include "pool.h"

namespace dynroute {

// Less the mean; zeros beyond the image, as padding after normalising gives.
void Network::image_row(const Image& image, int row, float* out) const {
  if (row >= image.height) {
    std::memset(out, 0, sizeof(float) * 3 * width_);
    return;
  }
  const size_t plane = static_cast<size_t>(image.height) * image.width, at = static_cast<size_t>(row) * image.width;
  for (int c = 0; c < 3; ++c) {
    const float mean = d_.mean[c];
    if (image.bytes) {
      const uint8_t* in = static_cast<const uint8_t*>(image.pixels) + c * plane + at;
      for (int j = 0; j < image.width; ++j) out[3 * j + c] = in[j] - mean;
    } else {
      const float* in = static_cast<const float*>(image.pixels) + c * plane + at;
      for (int j = 0; j < image.width; ++j) out[3 * j + c] = in[j] - mean;
    }
  }
  std::fill(out + 3 * image.width, out + 3 * width_, 0.0f);
}

void Network::stem_rows(const Image& image, int first, int last, Pieces pieces) {
  const int channels = padded(d_.stem_channels), width = stem_width_;
  const size_t pixel = static_cast<size_t>(channels) * k_.element_size, pitch = aligned((width + 2) * pixel);
  float* pictures[3];
  char *early[3], *late[3];
  for (float*& row : pictures) row = pieces.floats(3 * width_ + 16);
  for (char*& row : early) row = pieces.take(pitch);
  for (char*& row : late) row = pieces.take(pitch);
  for (char* row : {early[0], early[1], early[2], late[0], late[1], late[2]}) {
    std::memset(row, 0, pixel);
    std::memset(row + (width + 1) * pixel, 0, pixel);
  }
  const int block = block_width(d_.stem_channels, width);
  const long ld_inputs = channels + kAlign / k_.element_size;
  char* inputs = pieces.take(ld_inputs * k_.element_size * block);

  // Depthwise, then pointwise, block by block.
  auto pair = [&](int which, char* const* rows, int row, int row_stride, int columns, char* out) {
    const Convolution& pointwise = stem_pointwise_[which];
    const int limit = stem_height_;
    for (int column = 0; column < columns; column += block) {
      const int wide = std::min(block, columns - column);
      Depthwise d;
      for (int r = 0; r < 3; ++r) {
        const int from = row_stride * row + r - 1;
        const char* base = from < 0 || from >= limit ? zeros_ : rows[from % 3];
        d.rows[r] = base + static_cast<size_t>(column) * row_stride * pixel;
      }
      d.w = stem_depthwise_[which].data();
      d.out = inputs;
      d.ldo = ld_inputs;
      d.width = wide;
      d.channels = channels;
      d.stride = row_stride;
      k_.depthwise(d);
      const void* a[1] = {inputs};
      void* o[1] = {out + static_cast<size_t>(column) * pointwise.n * k_.element_size};
      Gemm g;
      g.a = a;
      g.lda = ld_inputs;
      set_weights(g, pointwise);
      g.rows = 1;
      g.width = wide;
      g.out = o;
      g.ldo = pointwise.n;
      k_.gemm(g);
    }
  };
  auto first_convolution = [&](int row, int* pictured) {
    for (; *pictured <= 2 * row + 2; ++*pictured) image_row(image, *pictured, pictures[*pictured % 3]);
    const void* a[3] = {pictures[2 * row % 3], pictures[(2 * row + 1) % 3], pictures[(2 * row + 2) % 3]};
    void* o[1] = {early[row % 3] + pixel};
    Gemm g;
    g.a = a;
    g.lda = 6;
    g.segments = 3;
    set_weights(g, first_);
    g.rows = 1;
    g.width = width;
    g.out = o;
    g.ldo = channels;
    k_.gemm_image(g);
  };

  int next_late = std::max(0, 2 * first - 1), next_early = std::max(0, next_late - 1), next_picture = 2 * next_early;
  for (int row = first; row < last; ++row) {
    for (const int until = std::min(stem_height_ - 1, 2 * row + 1); next_late <= until; ++next_late) {
      for (const int need = std::min(stem_height_ - 1, next_late + 1); next_early <= need; ++next_early)
        first_convolution(next_early, &next_picture);
      pair(0, early, next_late, 1, width, late[next_late % 3] + pixel);
    }
    pair(1, late, row, 2, x_[0].width, x_[0].inside(row));
  }
}

void Network::stem(const Image& image) {
  const int rows = x_[0].height, tasks = std::min(rows, 4 * threads_);
  Pool::shared().run(threads_, tasks, [&](int task, int thread) {
    stem_rows(image, rows * task / tasks, rows * (task + 1) / tasks, scratch(thread));
  });
}

}  // namespace dynroute
