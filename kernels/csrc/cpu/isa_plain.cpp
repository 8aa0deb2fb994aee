// Any processor: vectors of four floats, which the compiler maps to what the baseline has (SSE2, NEON).
#include "kernels.h"
#define ISA_NAME "plain"
#define LANES 4
#define MR_FULL 4
#define BF16_DOT 0
namespace dynroute {
namespace plain_set {
#include "isa.h"
}  // namespace plain_set
const Kernels* kernels_plain(bool bf16) { return bf16 ? plain_set::table<plain_set::bf16>() : plain_set::table<float>(); }
}  // namespace dynroute
