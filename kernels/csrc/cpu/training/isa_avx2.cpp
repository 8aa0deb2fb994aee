// AVX2 with FMA: 6 pixels × two vectors in the 16 registers.
#include "../memory.h"
#include "step.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define ISA_NAME "avx2"
#define BYTES 32
#define MR_FULL 6
#define OUTER_FULL 4
namespace dynroute {
namespace avx2_step {
#include "isa.h"
}  // namespace avx2_step
const Maker* maker_avx2() { return &avx2_step::MAKER; }
}  // namespace dynroute
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace dynroute {
const Maker* maker_avx2() { return nullptr; }
}  // namespace dynroute
#endif
