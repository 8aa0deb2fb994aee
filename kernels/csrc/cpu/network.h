// A routed network on the CPU: its weights packed for one instruction set, and one call per image.
//
// Schedule of a layer: first everything that arrives is summed, in place, into one map per scale, and the gates read it
// on the way; then the gates decide; then the open cells run, in place again. So a scale needs three buffers: its map
// x, what comes down to it, and what comes up to it (at the coarser scale's size, enlarged where it is read).
//
//   stem → x[0];  layer: arrive(x ← x + down + ×2 up; pooled gate) → decide → run(x → x, down of scale+1, up of scale-1)
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "memory.h"

namespace dynroute {

constexpr int kScales = 4;
constexpr float kOpenThreshold = 1e-4f;  // a cell whose factors sum to less is closed
constexpr uint8_t kOpen = 0, kClosed = 1, kDead = 2;
enum Path { kKeep, kUp, kDown, kPaths };
enum MapKind { kMapX, kMapDown, kMapUp };  // of one scale

// Weights of a convolution as the kernels read them.
struct Convolution {
  std::vector<char> storage;
  const void* weights = nullptr;
  std::vector<float> bias;
  int k = 0, n = 0;  // padded; k per segment
};

inline void set_weights(Gemm& g, const Convolution& c) {
  g.k = c.k;
  g.n = c.n;
  g.b = c.weights;
  g.bias = c.bias.data();
}

struct Gate {
  Convolution reduce;
  std::vector<float> factors, bias;  // paths × width, paths
  int width = 0;
};

struct Cell {
  int layer = 0, scale = 0;
  int path_count = 0;
  int order[kPaths] = {-1, -1, -1};  // path → its place among the gate's outputs, or -1
  std::vector<float> depthwise[2];
  Convolution pointwise[2], up, down;
  std::unique_ptr<Gate> gate;
};

struct Description {  // as the caller gives it, see api.cpp
  int classes = 0, channels = 0, stem_channels = 0, head_scales = 0;
  bool small_gate = false;
  float mean[3] = {};
};

// The rows of one map. Padded maps have one zero pixel on both sides of each row.
struct Map {
  char* data = nullptr;
  int height = 0, width = 0, channels = 0;
  size_t pixel = 0, pitch = 0;  // bytes; row i begins with its left zero pixel
  char* row(int i) const { return data + i * pitch; }              // the left zero pixel
  char* inside(int i) const { return data + i * pitch + pixel; }  // the first pixel
};

struct Forced {
  const uint8_t* mask = nullptr;  // per path in forward order; null: the gates decide
  bool gate_factors = false;
};

struct Image {
  const void* pixels = nullptr;  // 3×H×W, BGR, 0..255
  bool bytes = false;            // uint8, else float32
  int height = 0, width = 0;
};

struct Outputs {
  float* logits = nullptr;    // classes×H×W, or null
  uint8_t* labels = nullptr;  // H×W, or null
  float* factors = nullptr;   // per path in forward order, as applied
  uint8_t* states = nullptr;  // per cell
};

class Network {
 public:
  Network(const Kernels& kernels, const Description& description, const int64_t* cells, int cell_count,
          const float* weights, size_t weight_count);

  void run(const Image& image, const Forced& forced, int threads, const Outputs& out);
  const char* isa() const { return k_.isa; }
  size_t arena_bytes() const { return arena_.bytes(); }
  void release();

  // One operation by itself: alone.cpp. Values are NHWC, in the network's dtype, without padding.
  void plan(int height, int width, int threads);
  void stem(const Image& image);
  void fill(int kind, int scale, const char* values);
  void read(int kind, int scale, char* values);
  void arrive_alone(size_t index, int came, bool gated, float* factors);
  void cell_alone(size_t index, const float* factors);
  void send_alone(size_t index, int path, float factor);
  void predict_alone(float* quarter);
  void enlarge_alone(const float* quarter, const Image& image, const Outputs& out);

 private:
  struct Slot {  // what reaches a scale of the next layer
    bool reached = false, keep = false, up = false, down = false;
  };
  struct Decision {
    bool open = false, gated = false;
    uint8_t state = kDead;
    float factor[kPaths] = {};
  };
  struct Chunk {  // a task: rows [first, last) of a cell
    int cell, first, last;
    int cut = 0;  // of the cell's, from the top: the one above `first`
  };
  class Reader;

  // network.cpp
  int padded(int channels) const;
  Convolution convolution(Reader& from, int n, int k, int segments, bool biased, bool image = false);
  std::vector<float> depthwise(Reader& from, int channels);
  void read_cells(Reader& from, const int64_t* cells, int count);

  // plan.cpp
  void place(Pieces& pieces, int height, int width);
  size_t scratch_bytes() const;
  Map map(Pieces& pieces, int height, int width, int channels) const;
  Map& whole_map(int kind, int scale);
  int block_width(int channels, int width) const;
  int block_rows(int width) const;
  Pieces scratch(int thread) const { return Pieces(scratch_ + thread * scratch_size_, scratch_size_); }

  // stem.cpp
  void stem_rows(const Image& image, int first, int last, Pieces pieces);
  void image_row(const Image& image, int row, float* out) const;

  // arrive.cpp
  void arrive(size_t begin, size_t end, const Forced& forced);
  bool settle_base(int scale, const Slot& slot);
  void arrive_rows(const Chunk& chunk, Pieces pieces);
  void sum_row(const Cell& cell, int row, const void* inputs, int width);
  void sampled_gate(const Chunk& chunk, Pieces pieces);
  void blend_up(const Map& up, int row, float* v) const;
  void decide(size_t index, const Forced& forced);

  // cell.cpp
  void run_cells(size_t begin, size_t end);
  void save_borders(const Chunk& chunk);
  void run_rows(const Chunk& chunk, Pieces pieces);
  void send(const Cell& cell, const Decision& d, char* const* h, int first, int rows, int step);

  // head.cpp
  void predict();
  void enlarge(const Outputs& out, const Image& image);
  template <class Stage>
  void each_row(int height, Stage stage);
  void narrow_rows(int scale, int first, int last, Pieces pieces);
  void predict_rows(int first, int last, Pieces pieces);
  void enlarge_rows(const Outputs& out, const Image& image, int first, int last, Pieces pieces);
  const char* feature_row(int scale, int row, char* scratch, float* v) const;

  const Kernels& k_;
  Description d_;
  Convolution first_, stem_pointwise_[2];
  std::vector<float> stem_depthwise_[2];
  std::vector<Cell> cells_;
  std::vector<size_t> path_offset_;  // cell → its first path in forward order
  std::vector<Convolution> narrow_;
  Convolution fuse_, predictor_;

  // for one size and number of threads
  Arena arena_;
  int height_ = 0, width_ = 0, threads_ = 0;  // padded size
  int stem_height_ = 0, stem_width_ = 0;      // after the first convolution
  Map x_[kScales], down_[kScales], up_[kScales];
  char* borders_[kScales] = {};  // rows beside the cuts between chunks, as they were
  char* zeros_ = nullptr;        // a row of zeros, as wide as any
  float* sums_[kScales] = {};    // per row: the gate's sums
  float* quarter_ = nullptr;     // classes×h×w
  char* scratch_ = nullptr;
  size_t scratch_size_ = 0;

  // for one image
  std::vector<Decision> decisions_;
  std::vector<Chunk> chunks_;
  Slot slots_[kScales];
  std::vector<int> cuts_;
  bool in_x_[kScales] = {};         // x holds the first of what arrived
  bool assemble_[kScales][2] = {};  // what still has to be added: down, up
};

}  // namespace dynroute
