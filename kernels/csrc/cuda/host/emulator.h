// Runs the kernels on the CPU, as plain C++, to check what they compute: index arithmetic, barriers, exits, rounding.
//
// The threads of a block are fibers of one host thread. They run one after another up to the next barrier, in an order
// the caller chooses: first or last warp ahead of all others, or shuffled, so that a missing barrier shows. Shared memory is full of NaN when a
// block starts. What this cannot show: speed, registers, memory coalescing, and races between blocks, which run one by one.
#pragma once

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define DYNROUTE_SHARED(Type, name) Type& name = *static_cast<Type*>(emulated::shared_memory(sizeof(Type)))
#define DYNROUTE_LAUNCH(kernel, grid, threads, stream, argument) \
    (static_cast<void>(stream), emulated::launch(grid, threads, [&] { kernel(argument); }))

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulated {

enum class Waiting { kNo, kForWarp, kForBlock, kDone };

struct Fiber {
    unsigned index = 0;
    Waiting waiting = Waiting::kNo;
    uint64_t collectives = 0;  // a hash of the warp-wide calls made so far, which every lane must make alike
    bool started = false;
    jmp_buf context;
};

extern Fiber* current;
extern dim3 block, grid_size;

// 0, or what went wrong (`emulator_error` says it): a barrier that not all reach, lanes that disagree, a bad address.
int launch(dim3 grid, unsigned threads, const std::function<void()>& kernel);
void wait(Waiting barrier);
void fail(const char* why);
void* shared_memory(size_t bytes);
float exchange(float value, unsigned from);

// Notes a warp-wide call; true in the lane that does its work for all.
bool collective(const void* address, unsigned stride);

struct ThreadIndex {
    unsigned x, y, z;
};
inline ThreadIndex thread_index() { return {current->index, 0, 0}; }

}  // namespace emulated

#define threadIdx (emulated::thread_index())
#define blockIdx (emulated::block)
#define gridDim (emulated::grid_size)

inline void __syncthreads() { emulated::wait(emulated::Waiting::kForBlock); }
inline void __syncwarp() { emulated::wait(emulated::Waiting::kForWarp); }
inline float __shfl_xor_sync(unsigned, float value, unsigned mask) {
    return emulated::exchange(value, emulated::current->index % 32 ^ mask);
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// bf16: the upper half of a float32, rounded to nearest, ties to even.
struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline __nv_bfloat16 __float2bfloat16(float value) {
    if (std::isnan(value)) return {0x7fff};
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
enum layout_t { mem_row_major };

// Lane 0 holds all 256 elements and works for its warp; the others' fragments stay empty.
template <typename Use, int kM, int kN, int kK, typename T, typename Layout = void> struct fragment {
    static_assert(kM == 16 && kN == 16 && kK == 16, "the one shape used here");
    float element[16][16];
};

template <typename Fragment> void fill_fragment(Fragment& fragment, float value) {
    if (!emulated::collective(nullptr, 0)) return;
    for (auto& row : fragment.element) {
        for (float& element : row) element = value;
    }
}

inline bool aligned(const void* address, unsigned stride_in_bytes) {
    const bool good = reinterpret_cast<uintptr_t>(address) % 32 == 0 && stride_in_bytes % 16 == 0;
    if (!good) emulated::fail("a fragment's address is no multiple of 32 bytes, or its stride none of 16");
    return good;
}

template <typename Fragment> void load_matrix_sync(Fragment& fragment, const __nv_bfloat16* at, unsigned stride) {
    if (!emulated::collective(at, stride) || !aligned(at, stride * 2)) return;
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) fragment.element[i][j] = __bfloat162float(at[i * stride + j]);
    }
}

template <typename Sum, typename Left, typename Right>
void mma_sync(Sum& sum, const Left& left, const Right& right, const Sum& before) {
    if (!emulated::collective(nullptr, 1)) return;
    for (int i = 0; i < 16; ++i) {
        float row[16];
        std::memcpy(row, before.element[i], sizeof row);
        for (int k = 0; k < 16; ++k) {
            for (int j = 0; j < 16; ++j) row[j] += left.element[i][k] * right.element[k][j];
        }
        std::memcpy(sum.element[i], row, sizeof row);
    }
}

template <typename Fragment>
void store_matrix_sync(float* at, const Fragment& fragment, unsigned stride, layout_t) {
    if (!emulated::collective(at, stride) || !aligned(at, stride * 4)) return;
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) at[i * stride + j] = fragment.element[i][j];
    }
}

}  // namespace nvcuda::wmma
