// Depthwise 3×3 into shared memory, 1×1 by tensor cores, bias, residual and ReLU on the way out: half a cell's operation.
//
// A block makes a tile of 8 × 16 pixels × up to 128 outputs. Per step of inputs, each warp convolves two neighbouring
// columns of the tile from top to bottom, a lane per word of channels, so every input row is read once per pair of columns.
#pragma once

#include "tile_product.cuh"

namespace dynroute {

constexpr int kTileHeight = 8;
constexpr int kTileWidth = kTileRows / kTileHeight;
static_assert(kTileWidth == 2 * kWarps, "a warp convolves two columns");

// left[pixel][:depth] = depthwise3×3(x), for the channels from `first` on, of the tile whose first output is (top, start).
template <typename T, int kStride>
__device__ void convolve_depthwise(Stage<T>& stage, const Separable& p, const T* x, int first, int top, int start) {
    constexpr int kSize = Word<T>::kSize;
    constexpr int kReach = kStride + 3;  // inputs under two outputs side by side
    constexpr int kInputRows = (kTileHeight - 1) * kStride + 3;
    const int channel = first + lane() * kSize;
    if (channel >= p.channels) return;
    float weight[9][kSize];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
        for (int c = 0; c < kSize; ++c) weight[tap][c] = p.depthwise[tap * p.channels + channel + c];
    }
    const int column = 2 * warp();
    float sums[kTileHeight][2][kSize] = {};
#pragma unroll
    for (int i = 0; i < kInputRows; ++i) {
        const int in_y = top * kStride - 1 + i;
        float input[kReach][kSize] = {};
#pragma unroll
        for (int j = 0; j < kReach; ++j) {
            const int in_x = (start + column) * kStride - 1 + j;
            if (in_y < 0 || in_y >= p.in_height || in_x < 0 || in_x >= p.in_width) continue;
            const T* at = x + (static_cast<int64_t>(in_y) * p.in_width + in_x) * p.channels + channel;
            const Word<T> word = *reinterpret_cast<const Word<T>*>(at);
#pragma unroll
            for (int c = 0; c < kSize; ++c) input[j][c] = to_float(word.value[c]);
        }
#pragma unroll
        for (int row = 0; row < kTileHeight; ++row) {
            const int dy = i - row * kStride;
            if (dy < 0 || dy > 2) continue;
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                Word<T> word;
#pragma unroll
                for (int c = 0; c < kSize; ++c) {
                    float& sum = sums[row][side][c];
#pragma unroll
                    for (int dx = 0; dx < 3; ++dx) sum = fmaf(weight[dy * 3 + dx][c], input[side * kStride + dx][c], sum);
                    word.value[c] = from_float<T>(sum);
                }
                if (dy < 2) continue;
                *reinterpret_cast<Word<T>*>(&stage.left[row * kTileWidth + column + side][lane() * kSize]) = word;
            }
        }
    }
}

template <typename T, int kStride, int kColumns>
__device__ void separable_tile(Stage<T>& stage, const Separable& p, int block) {
    const int columns = column_tiles(p.outputs), across = ceil_div(p.width, kTileWidth);
    const int first_output = block % columns * kColumns;
    const int top = block / columns / across * kTileHeight, start = block / columns % across * kTileWidth;
    const int64_t image = blockIdx.z;
    const T* x = static_cast<const T*>(p.x) + image * p.in_height * p.in_width * p.channels;
    T* out = static_cast<T*>(p.out) + image * p.height * p.width * p.outputs;

    TileProduct<T, kColumns> product;
    product.clear();
    for (int first = 0; first < p.channels; first += kDepth<T>) {
        const int depth = min(kDepth<T>, p.channels - first);
        load_weights<T, kColumns>(stage, static_cast<const T*>(p.weight), first, depth, first_output, p.outputs);
        convolve_depthwise<T, kStride>(stage, p, x, first, top, start);
        __syncthreads();
        product.multiply(stage, depth);
        __syncthreads();
    }
    store_map(product, stage, p.bias, first_output, p.outputs, p.relu, p.accumulate, 1.0f, [&](int row) -> T* {
        const int y = top + row / kTileWidth, column = start + row % kTileWidth;
        if (y >= p.height || column >= p.width) return nullptr;
        return out + (static_cast<int64_t>(y) * p.width + column) * p.outputs;
    });
}

template <typename T, int kStride>
__global__ void __launch_bounds__(kThreads, 2) separable_kernel(const Group<Separable> group) {
    DYNROUTE_SHARED(Stage<T>, stage);
    const Place<Separable> place = find(group);
    if (place.problem.gate[blockIdx.z * kRecord + kState] != kOpen) return;
    if (column_width(place.problem.outputs) == 128) {
        separable_tile<T, kStride, 128>(stage, place.problem, place.block);
    } else {
        separable_tile<T, kStride, 64>(stage, place.problem, place.block);
    }
}

inline int blocks_of(const Separable& p) {
    return ceil_div(p.height, kTileHeight) * ceil_div(p.width, kTileWidth) * column_tiles(p.outputs);
}

}  // namespace dynroute
