// Any processor: vectors of 16 bytes, which the compiler maps to what the baseline has (SSE2, NEON). Where that has no
// fused multiply-add, the C library's stands in for it, number by number: right to the bit, and slow.
#include "../memory.h"
#include "step.h"
#define ISA_NAME "plain"
#define BYTES 16
#define MR_FULL 2
#define OUTER_FULL 4
namespace dynroute {
namespace plain_step {
#include "isa.h"
}  // namespace plain_step
const Maker* maker_plain() { return &plain_step::MAKER; }
}  // namespace dynroute
