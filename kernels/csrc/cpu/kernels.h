// The row kernels: what one instruction set offers to the network. Plain pointers, no torch, no allocation.
//
// Layout of every activation: NHWC, one image, channels padded with zeros to `Kernels::channel_multiple`, elements of
// the network's dtype (float32, or bfloat16 as 16-bit words). Rows are given as pointers, so that a row may lie in the
// map, in a ring, or be the shared row of zeros.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dynroute {

constexpr int kMaxRows = 8;  // rows that one call may take

// out = scale_out · act(scale_in · (Σ_s a_s · b_s) + bias + residual), act = ReLU or nothing.
// A pixel's input is `segments` runs of k contiguous elements: 1 for a pointwise convolution, 3 (one per row) for a
// 3×3 one, whose three columns are contiguous. With `sums`, nothing is stored: each row's outputs are summed instead.
struct Gemm {
  const void* const* a = nullptr;  // [rows][segments]: the first pixel's run
  long lda = 0;                    // elements from a pixel's run to the next pixel's
  int segments = 1;
  int k = 0;
  const void* b = nullptr;      // packed by Kernels::pack
  const float* bias = nullptr;  // n
  int n = 0;                    // padded outputs
  int rows = 0;
  int width = 0;
  void* const* out = nullptr;  // [rows]
  long ldo = 0;
  const void* const* residual = nullptr;  // [rows] or null; may be `out`
  long ldr = 0;
  float scale_in = 1, scale_out = 1;
  bool relu = true;
  float* const* sums = nullptr;  // [rows] of n
};

// Depthwise 3×3: out[j] = Σ_{r,t} rows[r][stride·j + t] · w[r][t]; rows begin at the column left of the first output's.
struct Depthwise {
  const void* rows[3];
  const float* w;  // packed by Kernels::pack_depthwise
  void* out;
  long ldo;
  int width, channels, stride;
};

struct Kernels {
  const char* isa;
  int element_size;      // bytes
  int channel_multiple;  // channels are padded to it
  int tile;              // pixels of a full register block

  // w: n×k row-major → panels; both padded with zeros up to padded_n and padded_k. `size`: elements needed.
  size_t (*packed_size)(int padded_n, int padded_k);
  void (*pack)(const float* w, int n, int k, int padded_n, int padded_k, void* packed);
  void (*pack_image)(const float* w, int n, int k, int padded_n, int padded_k, void* packed);  // for gemm_image
  void (*pack_depthwise)(const float* w, int channels, int padded, float* packed);             // w: channels×9

  void (*gemm)(const Gemm&);        // a, out: the network's dtype
  void (*gemm_image)(const Gemm&);  // a: float32
  void (*gemm_logits)(const Gemm&);  // out: float32
  void (*depthwise)(const Depthwise&);

  // v[0..n) = w0·a + w1·b
  void (*blend)(const void* a, const void* b, float w0, float w1, size_t n, float* v);
  // x = a + b + bilinear×2(v), each of a, b, v where given; v: width/2 pixels, float32, already blended vertically.
  void (*assemble)(void* x, const void* a, const void* b, const float* v, int width, int channels);
  // out[j] = (1-f_j)·v[i_j] + f_j·v[i_j + step_j]
  void (*sample)(const float* v, const int* first, const int* second, const float* share, int width, int channels,
                 void* out);
  // out[4·width]: the ×4 enlargement of a row. v[0] and v[width+1] repeat the edges; both are whole vectors long.
  void (*enlarge4)(const float* v, int width, float* out);
  // labels[4·width]: argmax over classes of the ×4 enlargement. v: [classes][ld], v[0] and v[width+1] repeat the edges.
  void (*argmax4)(const float* v, long ld, int classes, int width, uint8_t* labels);
};

// Null where the instruction set was not compiled in.
const Kernels* kernels_plain(bool bf16);
const Kernels* kernels_avx2(bool bf16);
const Kernels* kernels_avx512(bool bf16);
const Kernels* kernels_avx512_bf16(bool bf16);

// The best set this processor runs, or the one named in `wanted` (empty: best); null where it cannot.
const Kernels* choose_kernels(const char* wanted, bool bf16);

}  // namespace dynroute
