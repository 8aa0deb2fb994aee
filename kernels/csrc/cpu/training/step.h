// The training step of one network on crops of one size: what Python calls, whatever the instruction set and the type.
// Plain pointers, no torch. Values are of the step's type (float or double) where nothing else is said.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dynroute {

constexpr int kScales = 4;
enum Path { kKeep, kUp, kDown, kPaths };
enum GateKind { kNoGate, kFullGate, kSmallGate };

struct CellShape {
  int layer, scale;
  int order[kPaths];  // a path's place among the gate's outputs, -1 where the cell has none
  int paths;
};

// parameters, statistics: where each tensor begins in its flat buffer, in the order of `network.h`.
struct Shape {
  int images, height, width;  // of the crops, before they are padded to multiples of 32
  int channels, middle, classes, head_scales, gate;
  int cell_count, path_count;
  const CellShape* cells;
  const int64_t *parameters, *statistics;
  double mean[3];
  double epsilon;  // of the batch norms
};

// A batch: uint8 or the step's type, element (image, channel, row, column) at the sum of index · stride.
struct Images {
  const void* pixels;
  bool bytes;
  int64_t stride[4];
};

// forced: images × paths, which paths a forced route opens, or null. drop: cells × images, what each cell's operation
// is multiplied by, or null. momentum: of the running statistics.
struct Forward {
  Images images;
  const void* parameters;
  void* statistics;
  const uint8_t* forced;
  bool gate_factors;
  const void* drop;
  double momentum;
  void* logits;   // images × height/4 × width/4 × classes, of the padded crop
  void* factors;  // images × paths
  uint8_t* open;  // images × cells
};

// logits, factors: the gradients that arrive, as in `Forward`. parameters: the gradient, every tensor of it written.
struct Backward {
  const void *logits, *factors;
  void* parameters;
};

// labels: images × height × width, 255 is left out. weights: per class, or null. gradient: as the logits.
struct CrossEntropy {
  const void* logits;
  const uint8_t* labels;
  const void* weights;
  void* gradient;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void forward(const Forward& given, int threads) = 0;
  virtual void backward(const Backward& given, int threads) = 0;
  virtual double cross_entropy(const CrossEntropy& given, int threads) = 0;  // the sum over pixels
  virtual size_t bytes() const = 0;
};

// A tensor of the flat buffer and what its update takes.
struct Span {
  int64_t first, count;
  double decay, rate;
};

// first, second: what stays of the gradient's and its square's averages in a step. step: which one it is, from 1.
// scale: what gradients are multiplied by.
struct AdamW {
  double first, second, epsilon, scale;
  int64_t step;
};

// One instruction set. `update`: SGD with momentum, of gradients multiplied by `scale`.
struct Maker {
  const char* isa;
  int macs;  // of a round of `multiply_adds`
  Step* (*make)(const Shape& shape, bool doubles);
  double (*squares)(const void* values, int64_t count, bool doubles, int threads);
  void (*scaled)(const void* values, int64_t count, double factor, void* out, bool doubles, int threads);
  void (*update)(const Span* spans, int span_count, void* parameters, const void* gradient, void* momenta,
                 double momentum, double scale, bool doubles, int threads);
  void (*update_adamw)(const Span* spans, int span_count, void* parameters, const void* gradient, void* first,
                       void* second, const AdamW& by, bool doubles, int threads);
  void (*average)(void* averaged, const void* parameters, int64_t count, double keep, bool doubles, int threads);
  float (*multiply_adds)(int64_t rounds);
};

// Null where the instruction set was not compiled in.
const Maker* maker_plain();
const Maker* maker_avx2();
const Maker* maker_avx512();

// Runs each task once on up to `threads` threads; a task is told its number and its thread's.
void parallel(int threads, int tasks, void (*task)(void* context, int task, int thread), void* context);

}  // namespace dynroute
