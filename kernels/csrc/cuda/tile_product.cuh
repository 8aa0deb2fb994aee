// A block's matrix product: 128 rows (pixels) × up to 128 columns (output channels), in steps along the inputs.
//
// The caller fills stage.left (128 × depth) and stage.right (depth × columns) in shared memory, then multiplies. bf16 goes
// through tensor cores (wmma, float32 sums), float32 through fused multiply-adds: the same code around both.
#pragma once

#include "group.cuh"

namespace dynroute {

constexpr int kTileRows = 128;
constexpr int kTileColumns = 128;
template <typename T> constexpr int kDepth = 128 / sizeof(T);  // inputs of one step: 64 bf16, 32 floats
template <typename T> constexpr int kSkew = 16 / sizeof(T);    // shifts rows by 4 banks, so that 8 rows meet no conflict
constexpr int kPatch = 16;                                     // sums are kept, and leave, in patches of 16 × 16
constexpr int kPatchStride = kPatch + 4;

template <typename T> struct alignas(32) Stage {
    T left[kTileRows][kDepth<T> + kSkew<T>];
    T right[kDepth<T>][kTileColumns + kSkew<T>];
    float patch[kWarps][kPatch][kPatchStride];
};
static_assert(sizeof(Stage<bf16>) <= 48 * 1024 && sizeof(Stage<float>) <= 48 * 1024, "static shared memory ends there");

// A warp's share of 16 × 16 × 16 products.
template <typename T> struct Fragments;

template <> struct Fragments<bf16> {
    using Left = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, bf16, nvcuda::wmma::row_major>;
    using Right = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, bf16, nvcuda::wmma::row_major>;
    using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;

    static __device__ void clear(Sum& sum) { nvcuda::wmma::fill_fragment(sum, 0.0f); }
    template <typename Fragment> static __device__ void load(Fragment& fragment, const bf16* at, int stride) {
        nvcuda::wmma::load_matrix_sync(fragment, at, stride);
    }
    static __device__ void multiply(Sum& sum, const Left& left, const Right& right) {
        nvcuda::wmma::mma_sync(sum, left, right, sum);
    }
    static __device__ void store(const Sum& sum, float* patch) {
        nvcuda::wmma::store_matrix_sync(patch, sum, kPatchStride, nvcuda::wmma::mem_row_major);
    }
};

// Each lane owns 8 neighbours of one row of the patch.
template <> struct Fragments<float> {
    struct Left {
        const float* at;
        int stride;
    };
    using Right = Left;
    struct Sum {
        float value[8];
    };

    static __device__ void clear(Sum& sum) {
        for (float& value : sum.value) value = 0.0f;
    }
    static __device__ void load(Left& fragment, const float* at, int stride) { fragment = {at, stride}; }
    static __device__ void multiply(Sum& sum, const Left& left, const Right& right) {
        const float* row = left.at + lane() / 2 * left.stride;
        const float* columns = right.at + lane() % 2 * 8;
#pragma unroll
        for (int k = 0; k < 16; ++k) {
#pragma unroll
            for (int i = 0; i < 8; ++i) sum.value[i] = fmaf(row[k], columns[k * right.stride + i], sum.value[i]);
        }
    }
    static __device__ void store(const Sum& sum, float* patch) {
#pragma unroll
        for (int i = 0; i < 8; ++i) patch[lane() / 2 * kPatchStride + lane() % 2 * 8 + i] = sum.value[i];
    }
};

// 128 × kColumns sums of a block: each of 4 × 2 warps keeps 32 × kColumns / 2 of them.
template <typename T, int kColumns> struct TileProduct {
    static constexpr int kDown = 2;
    static constexpr int kAcross = kColumns / 2 / kPatch;
    using F = Fragments<T>;
    typename F::Sum sums[kDown][kAcross];

    static __device__ int first_row() { return warp() / 2 * (kDown * kPatch); }
    static __device__ int first_column() { return warp() % 2 * (kAcross * kPatch); }

    __device__ void clear() {
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
#pragma unroll
            for (int j = 0; j < kAcross; ++j) F::clear(sums[i][j]);
        }
    }

    // Adds left[:, :depth] · right[:depth]; depth is a multiple of 16. Both must have been written before a barrier.
    __device__ void multiply(const Stage<T>& stage, int depth) {
        for (int k = 0; k < depth; k += 16) {
            typename F::Left left[kDown];
#pragma unroll
            for (int i = 0; i < kDown; ++i) {
                F::load(left[i], &stage.left[first_row() + i * kPatch][k], kDepth<T> + kSkew<T>);
            }
#pragma unroll
            for (int j = 0; j < kAcross; ++j) {
                typename F::Right right;
                F::load(right, &stage.right[k][first_column() + j * kPatch], kTileColumns + kSkew<T>);
#pragma unroll
                for (int i = 0; i < kDown; ++i) F::multiply(sums[i][j], left[i], right);
            }
        }
    }

    // Calls visit(row, column, patch, j) for every patch, whose sums then lie at patch[16][kPatchStride]: row and column
    // are the patch's first in the tile, j its place among the warp's columns. All lanes of the warp call together.
    template <typename Visit> __device__ void each_patch(Stage<T>& stage, Visit visit) {
        float* patch = &stage.patch[warp()][0][0];
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
#pragma unroll
            for (int i = 0; i < kDown; ++i) {
                F::store(sums[i][j], patch);
                __syncwarp();
                visit(first_row() + i * kPatch, first_column() + j * kPatch, patch, j);
                __syncwarp();
            }
        }
    }

    // Calls visit(row, column, values) with 8 neighbouring columns of one row, once per lane and patch.
    template <typename Visit> __device__ void each_row(Stage<T>& stage, Visit visit) {
        each_patch(stage, [&](int row, int column, const float* patch, int) {
            float values[8];
            const float* at = patch + lane() / 2 * kPatchStride + lane() % 2 * 8;
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] = at[i];
            visit(row + lane() / 2, column + lane() % 2 * 8, values);
        });
    }
};

// right[:depth] = weight[first_input + k][first_output + n], zeros beyond the last output.
template <typename T, int kColumns>
__device__ void load_weights(Stage<T>& stage, const T* weight, int first_input, int depth, int first_output, int outputs) {
    constexpr int kSize = Vector<T>::kSize;
    constexpr int kPerRow = kColumns / kSize;
    for (int i = thread(); i < depth * kPerRow; i += kThreads) {
        const int k = i / kPerRow, n = i % kPerRow * kSize;
        Vector<T> vector{};
        if (first_output + n < outputs) {
            const T* at = weight + static_cast<int64_t>(first_input + k) * outputs + first_output + n;
            vector = *reinterpret_cast<const Vector<T>*>(at);
        }
        *reinterpret_cast<Vector<T>*>(&stage.right[k][n]) = vector;
    }
}

// left[row][:depth] = pixel(row)[first_input ...], zeros where pixel(row) is null. pixel gives a row's first channel.
template <typename T, typename Pixel>
__device__ void load_pixels(Stage<T>& stage, int first_input, int depth, Pixel pixel) {
    constexpr int kSize = Vector<T>::kSize;
    constexpr int kPerRow = kDepth<T> / kSize;
    const int channel = thread() % kPerRow * kSize;
    if (channel >= depth) return;
    for (int row = thread() / kPerRow; row < kTileRows; row += kThreads / kPerRow) {
        const T* at = pixel(row);
        Vector<T> vector{};
        if (at != nullptr) vector = *reinterpret_cast<const Vector<T>*>(at + first_input + channel);
        *reinterpret_cast<Vector<T>*>(&stage.left[row][channel]) = vector;
    }
}

// out[pixel][first_output + ...] = factor · [ReLU](sums + bias [+ out]); address(row) gives a pixel's first output or null.
template <typename T, int kColumns, typename Address>
__device__ void store_map(TileProduct<T, kColumns>& product, Stage<T>& stage, const float* bias, int first_output,
                          int outputs, bool relu, bool accumulate, float factor, Address address) {
    product.each_row(stage, [&](int row, int column, float(&values)[8]) {
        const int output = first_output + column;
        T* at = address(row);
        if (at == nullptr || output >= outputs) return;
        float before[8] = {};
        if (accumulate) load8<T>(at + output, before);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float value = values[i] + bias[output + i] + before[i];
            values[i] = factor * (relu ? fmaxf(value, 0.0f) : value);
        }
        store8<T>(at + output, values);
    });
}

inline __host__ __device__ int column_width(int outputs) { return outputs > 64 ? 128 : 64; }
inline __host__ __device__ int column_tiles(int outputs) { return ceil_div(outputs, column_width(outputs)); }

}  // namespace dynroute
