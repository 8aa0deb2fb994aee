// Sizes and places of everything an image of one size needs, in one arena.
#include <algorithm>

#include "network.h"

namespace dynroute {

namespace {

// Bytes of a block's inputs to a pointwise convolution: they are written and read at once, so they should stay in the
// first-level cache while the weights stream by; wide layers, whose weights are larger, take whole rows instead.
constexpr size_t kBlockBytes = 14 * 1024;
constexpr int kWideChannels = 256;
constexpr int kBlockPixels = 128;  // of wide layers: enough to pay for a pass over the weights

}  // namespace

Map Network::map(Pieces& pieces, int height, int width, int channels) const {
  Map m;
  m.height = height;
  m.width = width;
  m.channels = padded(channels);
  m.pixel = static_cast<size_t>(m.channels) * k_.element_size;
  m.pitch = aligned((width + 2) * m.pixel);
  m.data = pieces.take(height * m.pitch);
  return m;
}

int Network::block_width(int channels, int width) const {
  if (channels >= kWideChannels) return width;
  const int fit = static_cast<int>(kBlockBytes / (static_cast<size_t>(padded(channels)) * k_.element_size));
  return std::min(width, std::max(1, fit / k_.tile) * k_.tile);
}

int Network::block_rows(int width) const { return std::clamp(kBlockPixels / width, 1, kMaxRows); }

// The largest of what the stages' tasks take from their thread's scratch; each stage's own list stands beside its code.
size_t Network::scratch_bytes() const {
  size_t most = 0;
  const size_t e = k_.element_size, logit = sizeof(float) * padded(d_.classes);
  for (int scale = 0; scale < kScales; ++scale) {
    const int width = x_[scale].width, channels = x_[scale].channels;
    const int rows = block_rows(width);
    const size_t row = aligned((width + 2) * e * channels);
    const size_t blended = aligned(sizeof(float) * channels * width);
    const size_t inputs = aligned((channels * e + kAlign) * width * rows);
    const size_t cell = row * (rows + 2) + inputs + row * rows;
    const size_t arrival = 4 * blended + row;
    most = std::max({most, cell, arrival});
  }
  const size_t middle = padded(d_.stem_channels) * e;
  const size_t stem = 3 * aligned(sizeof(float) * (3 * width_ + 16)) + 6 * aligned((stem_width_ + 2) * middle) +
                      aligned((middle + kAlign) * stem_width_);
  const size_t predict = 5 * x_[0].pitch + 2 * aligned(sizeof(float) * x_[0].channels * x_[0].width) +
                         aligned(logit * x_[0].width);
  const size_t enlarge = aligned(sizeof(float) * d_.classes * (x_[0].width + 64)) + aligned(4 * (x_[0].width + 64)) +
                         aligned(sizeof(float) * 4 * (x_[0].width + 64));
  return std::max({most, stem, predict, enlarge}) + 4096;
}

// Once to count the bytes, once to place: the sizes cannot differ.
void Network::place(Pieces& pieces, int height, int width) {
  size_t widest = 0;
  for (int scale = 0; scale < kScales; ++scale) {
    const int h = height / 4 >> scale, w = width / 4 >> scale, channels = d_.channels << scale;
    x_[scale] = map(pieces, h, w, channels);
    if (scale > 0) down_[scale] = map(pieces, h, w, channels);
    if (scale < kScales - 1) up_[scale] = map(pieces, h / 2, w / 2, channels);
    borders_[scale] = pieces.take(x_[scale].pitch * 4 * 2 * threads_);
    sums_[scale] = pieces.floats(static_cast<size_t>(h) * padded(std::max(channels / 2, 1)));
    widest = std::max(widest, x_[scale].pitch);
  }
  widest = std::max(widest, aligned((stem_width_ + 2) * static_cast<size_t>(padded(d_.stem_channels)) * k_.element_size));
  zeros_ = pieces.take(widest);
  quarter_ = pieces.floats(static_cast<size_t>(d_.classes) * x_[0].height * x_[0].width);
  scratch_size_ = scratch_bytes();
  scratch_ = pieces.take(scratch_size_ * threads_);
}

void Network::plan(int height, int width, int threads) {
  const int coarsest = 4 << (kScales - 1);
  height = (height + coarsest - 1) / coarsest * coarsest;
  width = (width + coarsest - 1) / coarsest * coarsest;
  if (height == height_ && width == width_ && threads == threads_) return;
  width_ = width;
  threads_ = threads;
  stem_height_ = (height - 3) / 2 + 1;
  stem_width_ = (width - 3) / 2 + 1;
  height_ = 0;  // no plan, should memory be refused
  Pieces counted;
  place(counted, height, width);
  arena_.reserve(counted.used());
  Pieces placed(arena_.base(), arena_.bytes());
  place(placed, height, width);
  height_ = height;
}

}  // namespace dynroute
