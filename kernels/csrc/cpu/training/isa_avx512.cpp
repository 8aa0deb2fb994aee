// AVX-512 (F, BW, DQ, VL): 14 pixels × two vectors in 28 of the 32 registers.
#include "../memory.h"
#include "step.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#define ISA_NAME "avx512"
#define BYTES 64
#define MR_FULL 14
#define OUTER_FULL 8
namespace dynroute {
namespace avx512_step {
#include "isa.h"
}  // namespace avx512_step
const Maker* maker_avx512() { return &avx512_step::MAKER; }
}  // namespace dynroute
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace dynroute {
const Maker* maker_avx512() { return nullptr; }
}  // namespace dynroute
#endif
