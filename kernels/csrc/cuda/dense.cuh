// Dense 3×3 convolutions as matrix products over their windows: the predictor, and the stem's first.
#pragma once

#include "tile_product.cuh"

namespace dynroute {

// Logits leave planar and in float32: the enlargement reads them so, class by class.
template <typename T, int kColumns>
__device__ void store_logits(TileProduct<T, kColumns>& product, Stage<T>& stage, const Logits& p, int first_output,
                             int first_pixel) {
    const int64_t pixels = static_cast<int64_t>(p.height) * p.width;
    float* out = p.out + blockIdx.z * pixels * p.classes;
    product.each_patch(stage, [&](int row, int column, const float* patch, int) {
        const int64_t pixel = first_pixel + row + lane() % 16;
        if (pixel >= pixels) return;
        const int half = lane() / 16 * 8;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int output = first_output + column + half + i;
            if (output >= p.classes) break;
            out[output * pixels + pixel] = patch[lane() % 16 * kPatchStride + half + i] + p.bias[output];
        }
    });
}

template <typename T, int kColumns> __device__ void logits_tile(Stage<T>& stage, const Logits& p, int block) {
    const int columns = column_tiles(p.outputs), pixels = p.height * p.width;
    const int first_output = block % columns * kColumns;
    const int first_pixel = block / columns * kTileRows;
    const int64_t image = blockIdx.z;
    const T* x = static_cast<const T*>(p.x) + image * pixels * p.channels;

    TileProduct<T, kColumns> product;
    product.clear();
    for (int tap = 0; tap < 9; ++tap) {
        for (int first = 0; first < p.channels; first += kDepth<T>) {
            const int depth = min(kDepth<T>, p.channels - first);
            const T* weight = static_cast<const T*>(p.weight) + static_cast<int64_t>(tap) * p.channels * p.outputs;
            load_weights<T, kColumns>(stage, weight, first, depth, first_output, p.outputs);
            load_pixels(stage, first, depth, [&](int row) -> const T* {
                const int pixel = first_pixel + row;
                const int y = pixel / p.width - 1 + tap / 3, column = pixel % p.width - 1 + tap % 3;
                if (pixel >= pixels || y < 0 || y >= p.height || column < 0 || column >= p.width) return nullptr;
                return x + (static_cast<int64_t>(y) * p.width + column) * p.channels;
            });
            __syncthreads();
            product.multiply(stage, depth);
            __syncthreads();
        }
    }
    store_logits(product, stage, p, first_output, first_pixel);
}

template <typename T> __global__ void __launch_bounds__(kThreads, 2) logits_kernel(const Group<Logits> group) {
    DYNROUTE_SHARED(Stage<T>, stage);
    const Place<Logits> place = find(group);
    if (column_width(place.problem.outputs) == 128) {
        logits_tile<T, 128>(stage, place.problem, place.block);
    } else {
        logits_tile<T, 64>(stage, place.problem, place.block);
    }
}

inline int blocks_of(const Logits& p) { return ceil_div(p.height * p.width, kTileRows) * column_tiles(p.outputs); }

constexpr int kWindow = 27;  // 3 rows × 3 columns × 3 channels, and five zeros to make two steps of 16

// left[pixel][row, column, channel] of the window under each output pixel. The image is normalised here: its mean is taken
// off, and beyond its edge it is 0, up to the size the network pads to.
template <typename T, typename Value>
__device__ void load_windows(Stage<T>& stage, const Stem& p, const Value* x, int first_pixel) {
    const int row = thread() % kTileRows, pixel = first_pixel + row;
    const int64_t plane = static_cast<int64_t>(p.in_height) * p.in_width;
    const bool inside = pixel < p.height * p.width;
    for (int k = thread() / kTileRows; k < 32; k += kThreads / kTileRows) {
        const int y = pixel / p.width * 2 + k / 9, column = pixel % p.width * 2 + k / 3 % 3;
        float value = 0.0f;
        if (inside && k < kWindow && y < p.in_height && column < p.in_width) {
            value = static_cast<float>(x[k % 3 * plane + static_cast<int64_t>(y) * p.in_width + column]) - p.mean[k % 3];
        }
        stage.left[row][k] = from_float<T>(value);
    }
}

template <typename T, int kColumns> __device__ void stem_tile(Stage<T>& stage, const Stem& p, int block) {
    const int columns = column_tiles(p.outputs), pixels = p.height * p.width;
    const int first_output = block % columns * kColumns;
    const int first_pixel = block / columns * kTileRows;
    const int64_t image = blockIdx.z, values = static_cast<int64_t>(3) * p.in_height * p.in_width;
    if (p.bytes == 1) {
        load_windows(stage, p, static_cast<const unsigned char*>(p.x) + image * values, first_pixel);
    } else {
        load_windows(stage, p, static_cast<const float*>(p.x) + image * values, first_pixel);
    }
    load_weights<T, kColumns>(stage, static_cast<const T*>(p.weight), 0, 32, first_output, p.outputs);
    __syncthreads();
    TileProduct<T, kColumns> product;
    product.clear();
    product.multiply(stage, 32);
    T* out = static_cast<T*>(p.out) + image * pixels * p.outputs;
    store_map(product, stage, p.bias, first_output, p.outputs, true, false, 1.0f, [&](int row) -> T* {
        const int pixel = first_pixel + row;
        return pixel < pixels ? out + static_cast<int64_t>(pixel) * p.outputs : nullptr;
    });
}

template <typename T> __global__ void __launch_bounds__(kThreads, 2) stem_kernel(const Group<Stem> group) {
    DYNROUTE_SHARED(Stage<T>, stage);
    const Place<Stem> place = find(group);
    if (column_width(place.problem.outputs) == 128) {
        stem_tile<T, 128>(stage, place.problem, place.block);
    } else {
        stem_tile<T, 64>(stage, place.problem, place.block);
    }
}

inline int blocks_of(const Stem& p) { return ceil_div(p.height * p.width, kTileRows) * column_tiles(p.outputs); }

}  // namespace dynroute
