// One instruction set's kernels, for both dtypes. The including file sets ISA_NAME, LANES, MR_FULL and BF16_DOT.
#include "simd.h"
#include "gemm.h"
#include "depthwise.h"
#include "rows.h"

template <class T>
static const Kernels* table() {
  static const Kernels kernels = {
      ISA_NAME,
      sizeof(T),
      sizeof(T) == 4 ? 16 : 32,
      MR_FULL,
      packed_size,
      pack<T>,
      pack<float>,
      pack_depthwise<T>,
      gemm<T, T>,
      gemm<float, T>,
      gemm<T, float>,
      depthwise<T>,
      blend<T>,
      assemble<T>,
      sample<T>,
      enlarge4,
      argmax4,
  };
  return &kernels;
}
