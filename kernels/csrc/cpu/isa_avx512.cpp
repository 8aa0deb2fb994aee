// AVX-512 (F, BW, DQ, VL): 14 pixels × 32 outputs in 28 of the 32 registers.
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#define ISA_NAME "avx512"
#define LANES 16
#define MR_FULL 14
#define BF16_DOT 0
namespace dynroute {
namespace avx512_set {
#include "isa.h"
}  // namespace avx512_set
const Kernels* kernels_avx512(bool bf16) { return bf16 ? avx512_set::table<avx512_set::bf16>() : avx512_set::table<float>(); }
}  // namespace dynroute
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace dynroute {
const Kernels* kernels_avx512(bool) { return nullptr; }
}  // namespace dynroute
#endif
