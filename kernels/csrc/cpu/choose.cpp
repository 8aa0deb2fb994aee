// Which instruction set runs: the best that the processor has and that was compiled in, or the one asked for.
#include <cstring>

#include "kernels.h"

namespace dynroute {

namespace {

enum Level { kPlain, kAvx2, kAvx512, kAvx512Bf16, kLevels };

// Asks the processor and, through the compiler's run time, whether the system saves the wide registers.
bool runs(int level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (level) {
    case kAvx2: return avx2;
    case kAvx512: return avx512;
    case kAvx512Bf16: return avx512 && __builtin_cpu_supports("avx512bf16");
    default: return true;
  }
#else
  return level == kPlain;
#endif
}

}  // namespace

const Kernels* choose_kernels(const char* wanted, bool bf16) {
  static const char* const names[kLevels] = {"plain", "avx2", "avx512", "avx512_bf16"};
  static const Kernels* (*const tables[kLevels])(bool) = {kernels_plain, kernels_avx2, kernels_avx512,
                                                         kernels_avx512_bf16};
  for (int level = kLevels - 1; level >= 0; --level) {
    if (*wanted && std::strcmp(wanted, names[level])) continue;
    const Kernels* found = runs(level) ? tables[level](bf16) : nullptr;
    if (found || *wanted) return found;
  }
  return nullptr;
}

}  // namespace dynroute
