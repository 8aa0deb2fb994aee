// What the kernels need of CUDA, so that the same sources compile with nvcc and, through host/emulator.h, as plain C++.
#pragma once

#ifdef DYNROUTE_EMULATED
#include "host/emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>

#include <cstdint>

#define DYNROUTE_SHARED(Type, name) __shared__ Type name
#define DYNROUTE_LAUNCH(kernel, grid, threads, stream, argument) \
    (kernel<<<grid, threads, 0, static_cast<cudaStream_t>(stream)>>>(argument), static_cast<int>(cudaGetLastError()))
#endif

namespace dynroute {

using bf16 = __nv_bfloat16;

constexpr int kThreads = 256;  // of every block
constexpr int kWarps = kThreads / 32;

inline __host__ __device__ int ceil_div(int value, int by) { return (value + by - 1) / by; }
inline __device__ int thread() { return static_cast<int>(threadIdx.x); }
inline __device__ int lane() { return thread() % 32; }
inline __device__ int warp() { return thread() / 32; }

inline __device__ float to_float(float value) { return value; }
inline __device__ float to_float(bf16 value) { return __bfloat162float(value); }
template <typename T> __device__ T from_float(float value);
template <> inline __device__ float from_float<float>(float value) { return value; }
template <> inline __device__ bf16 from_float<bf16>(float value) { return __float2bfloat16(value); }

// Sixteen bytes of memory: 8 bf16 or 4 floats; what one thread moves at a time.
template <typename T> struct alignas(16) Vector {
    static constexpr int kSize = 16 / sizeof(T);
    T value[kSize];
};

// Four bytes of memory: 2 bf16 or 1 float; a warp reads 128 contiguous bytes.
template <typename T> struct alignas(4) Word {
    static constexpr int kSize = 4 / sizeof(T);
    T value[kSize];
};

// Eight channels at an address that is a multiple of 16 bytes.
template <typename T> __device__ void load8(const T* at, float (&value)[8]) {
    constexpr int kSize = Vector<T>::kSize;
#pragma unroll
    for (int part = 0; part < 8 / kSize; ++part) {
        const Vector<T> vector = reinterpret_cast<const Vector<T>*>(at)[part];
#pragma unroll
        for (int i = 0; i < kSize; ++i) value[part * kSize + i] = to_float(vector.value[i]);
    }
}

template <typename T> __device__ void store8(T* at, const float (&value)[8]) {
    constexpr int kSize = Vector<T>::kSize;
#pragma unroll
    for (int part = 0; part < 8 / kSize; ++part) {
        Vector<T> vector;
#pragma unroll
        for (int i = 0; i < kSize; ++i) vector.value[i] = from_float<T>(value[part * kSize + i]);
        reinterpret_cast<Vector<T>*>(at)[part] = vector;
    }
}

}  // namespace dynroute
