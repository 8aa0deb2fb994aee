// AVX-512 with bfloat16 dot products: two multiply-accumulates a lane. Its float32 kernels are those of AVX-512.
#include "kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#endif
#define ISA_NAME "avx512_bf16"
#define LANES 16
#define MR_FULL 14
#define BF16_DOT 1
namespace dynroute {
namespace avx512_bf16_set {
#include "isa.h"
}  // namespace avx512_bf16_set
const Kernels* kernels_avx512_bf16(bool bf16) { return bf16 ? avx512_bf16_set::table<avx512_bf16_set::bf16>() : kernels_avx512(false); }
}  // namespace dynroute
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace dynroute {
const Kernels* kernels_avx512_bf16(bool) { return nullptr; }
}  // namespace dynroute
#endif
