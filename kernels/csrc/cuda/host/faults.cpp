// Kernels that are wrong on purpose: the emulator must show each fault. Not compiled for the GPU.
#include "emulator.h"

namespace {

// A lane reads what its neighbour writes, without a barrier: what it finds depends on the order of threads.
void no_barrier(float* out) {
    using Row = float[64];
    DYNROUTE_SHARED(Row, shared);
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    out[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}

void half_a_barrier(float*) {
    if (threadIdx.x < 32) __syncthreads();
}

// Lanes of one warp load different fragments.
void lanes_disagree(float*) {
    using Tile = __nv_bfloat16[512];
    DYNROUTE_SHARED(Tile, shared);
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __nv_bfloat16, nvcuda::wmma::row_major> left;
    nvcuda::wmma::load_matrix_sync(left, shared + (threadIdx.x == 5 ? 16 : 0), 16);
    __syncwarp();
}

void misaligned(float*) {
    using Tile = __nv_bfloat16[512];
    DYNROUTE_SHARED(Tile, shared);
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __nv_bfloat16, nvcuda::wmma::row_major> left;
    nvcuda::wmma::load_matrix_sync(left, shared + 8, 16);
}

void too_much_shared(float*) {
    using Much = char[49 * 1024];
    DYNROUTE_SHARED(Much, shared);
    shared[0] = 0;
}

}  // namespace

// Runs fault 0 to 4 with 64 threads; out: 64 floats. 0, or 1 where the emulator stopped it.
extern "C" int dynroute_fault(int which, float* out) {
    void (*const kernels[])(float*) = {no_barrier, half_a_barrier, lanes_disagree, misaligned, too_much_shared};
    const auto kernel = kernels[which];
    return emulated::launch(dim3(1), 64, [&] { kernel(out); });
}
