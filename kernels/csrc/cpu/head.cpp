// The head: coarse to fine, y ← ×2 ReLU(narrow(y)) + f; then ReLU(fuse(y)), the 3×3 predictor, and the ×4 enlargement.
//
// Nothing but the narrowed maps and the quarter-size logits is written: y is assembled row by row where it is read.
#include <algorithm>
#include <cstring>

#include "network.h"
#include "pool.h"

namespace dynroute {

// Row of y at a scale: what the last layer keeps there plus, below the coarsest, the enlarged map from the next one.
const char* Network::feature_row(int scale, int row, char* scratch, float* v) const {
  const Map& x = x_[scale];
  const bool came = slots_[scale].keep;
  if (scale == d_.head_scales - 1) return came ? x.inside(row) : zeros_;
  blend_up(up_[scale], row, v);
  k_.assemble(scratch, came ? x.inside(row) : nullptr, nullptr, v, x.width, x.channels);
  return scratch;
}

void Network::narrow_rows(int scale, int first, int last, Pieces pieces) {
  const Map& x = x_[scale];
  const Map& to = up_[scale - 1];
  const Convolution& c = narrow_[scale - 1];
  char* scratch = pieces.take(x.pitch);
  float* v = pieces.floats(static_cast<size_t>(x.width) * x.channels);
  for (int row = first; row < last; ++row) {
    const void* a[1] = {feature_row(scale, row, scratch, v)};
    void* out[1] = {to.inside(row)};
    Gemm g;
    g.a = a;
    g.lda = x.channels;
    set_weights(g, c);
    g.rows = 1;
    g.width = x.width;
    g.out = out;
    g.ldo = to.channels;
    k_.gemm(g);
  }
}

// Rows of the quarter-size logits, planar. Scratch: a row of y and its blend, three rows of the fused map with a zero
// pixel on both sides, a row of logits pixel by pixel.
void Network::predict_rows(int first, int last, Pieces pieces) {
  const Map& x = x_[0];
  const int width = x.width, height = x.height;
  char* scratch = pieces.take(x.pitch);
  float* v = pieces.floats(static_cast<size_t>(width) * x.channels);
  char* ring[3];
  for (char*& row : ring) {
    row = pieces.take(x.pitch);
    std::memset(row, 0, x.pixel);
    std::memset(row + (width + 1) * x.pixel, 0, x.pixel);
  }
  float* logits = pieces.floats(static_cast<size_t>(width) * predictor_.n);
  Gemm g;
  g.rows = 1;
  g.width = width;
  g.lda = x.channels;
  int next = std::max(0, first - 1);
  for (int row = first; row < last; ++row) {
    for (const int until = std::min(height, row + 2); next < until; ++next) {
      const void* a[1] = {feature_row(0, next, scratch, v)};
      void* out[1] = {ring[next % 3] + x.pixel};
      g.a = a;
      g.out = out;
      g.segments = 1;
      set_weights(g, fuse_);
      g.ldo = x.channels;
      g.relu = true;
      k_.gemm(g);
    }
    const void* a[3];
    for (int tap = 0; tap < 3; ++tap) {
      const int from = row + tap - 1;
      a[tap] = from < 0 || from >= height ? zeros_ : ring[from % 3];
    }
    void* out[1] = {logits};
    g.a = a;
    g.out = out;
    g.segments = 3;
    set_weights(g, predictor_);
    g.ldo = predictor_.n;
    g.relu = false;
    k_.gemm_logits(g);
    for (int c = 0; c < d_.classes; ++c) {
      float* to = quarter_ + (static_cast<size_t>(c) * height + row) * width;
      for (int j = 0; j < width; ++j) to[j] = logits[static_cast<size_t>(j) * predictor_.n + c];
    }
  }
}

// Image rows [4·first, 4·last), cropped. The four rows of a quarter-size row weigh it and its neighbour as columns do.
void Network::enlarge_rows(const Outputs& out, const Image& image, int first, int last, Pieces pieces) {
  const int width = x_[0].width, height = x_[0].height;
  const long ld = (width + 2 + 31) / 32 * 32 + 32;  // whole vectors, and one to read beyond the last pixel
  float* v = pieces.floats(ld * d_.classes);
  char* wide = pieces.take(sizeof(float) * 4 * (width + 32));
  std::memset(v, 0, sizeof(float) * ld * d_.classes);
  constexpr float kShare[4] = {0.625f, 0.875f, 0.875f, 0.625f};
  const size_t plane = static_cast<size_t>(image.height) * image.width;
  for (int row = 4 * first; row < std::min(4 * last, image.height); ++row) {
    const int here = row / 4, beside = std::clamp(row % 4 < 2 ? here - 1 : here + 1, 0, height - 1);
    const float share = kShare[row % 4];
    for (int c = 0; c < d_.classes; ++c) {
      const float* a = quarter_ + (static_cast<size_t>(c) * height + here) * width;
      const float* b = quarter_ + (static_cast<size_t>(c) * height + beside) * width;
      float* to = v + c * ld;
      for (int j = 0; j < width; ++j) to[j + 1] = share * a[j] + (1 - share) * b[j];
      to[0] = to[1];
      to[width + 1] = to[width];
      if (out.logits) {
        k_.enlarge4(to, width, reinterpret_cast<float*>(wide));
        std::memcpy(out.logits + c * plane + static_cast<size_t>(row) * image.width, wide, sizeof(float) * image.width);
      }
    }
    if (out.labels) {
      k_.argmax4(v, ld, d_.classes, width, reinterpret_cast<uint8_t*>(wide));
      std::memcpy(out.labels + static_cast<size_t>(row) * image.width, wide, image.width);
    }
  }
}

template <class Stage>
void Network::each_row(int height, Stage stage) {
  const int tasks = std::clamp(height / 4, 1, 4 * threads_);
  Pool::shared().run(threads_, tasks, [&](int task, int thread) {
    stage(height * task / tasks, height * (task + 1) / tasks, scratch(thread));
  });
}

void Network::predict() {
  for (int scale = d_.head_scales - 1; scale > 0; --scale)
    each_row(x_[scale].height, [&](int first, int last, Pieces p) { narrow_rows(scale, first, last, p); });
  each_row(x_[0].height, [&](int first, int last, Pieces p) { predict_rows(first, last, p); });
}

void Network::enlarge(const Outputs& out, const Image& image) {
  each_row(x_[0].height, [&](int first, int last, Pieces p) { enlarge_rows(out, image, first, last, p); });
}

}  // namespace dynroute
