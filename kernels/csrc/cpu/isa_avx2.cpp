// AVX2 with FMA: 6 pixels × 16 outputs in the 16 registers.
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define ISA_NAME "avx2"
#define LANES 8
#define MR_FULL 6
#define BF16_DOT 0
namespace dynroute {
namespace avx2_set {
#include "isa.h"
}  // namespace avx2_set
const Kernels* kernels_avx2(bool bf16) { return bf16 ? avx2_set::table<avx2_set::bf16>() : avx2_set::table<float>(); }
}  // namespace dynroute
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace dynroute {
const Kernels* kernels_avx2(bool) { return nullptr; }
}  // namespace dynroute
#endif
