// 1×1 convolution by tensor cores, ReLU, times the path's factor: what a cell sends up and down, and the head's narrowing.
//
// `up` leaves at the cell's own size (assembly enlarges it as it reads); `down` reads every second pixel and row only.
#pragma once

#include "tile_product.cuh"

namespace dynroute {

template <typename T, int kColumns>
__device__ void pointwise_tile(Stage<T>& stage, const Pointwise& p, int block, float factor) {
    const int columns = column_tiles(p.outputs), pixels = p.height * p.width;
    const int first_output = block % columns * kColumns;
    const int first_pixel = block / columns * kTileRows;
    const int64_t image = blockIdx.z;
    const T* x = static_cast<const T*>(p.x) + image * p.in_height * p.in_width * p.channels;
    T* out = static_cast<T*>(p.out) + image * pixels * p.outputs;

    TileProduct<T, kColumns> product;
    product.clear();
    for (int first = 0; first < p.channels; first += kDepth<T>) {
        const int depth = min(kDepth<T>, p.channels - first);
        load_weights<T, kColumns>(stage, static_cast<const T*>(p.weight), first, depth, first_output, p.outputs);
        load_pixels(stage, first, depth, [&](int row) -> const T* {
            const int pixel = first_pixel + row;
            if (pixel >= pixels) return nullptr;
            const int y = pixel / p.width * p.stride, column = pixel % p.width * p.stride;
            return x + (static_cast<int64_t>(y) * p.in_width + column) * p.channels;
        });
        __syncthreads();
        product.multiply(stage, depth);
        __syncthreads();
    }
    store_map(product, stage, p.bias, first_output, p.outputs, true, false, factor, [&](int row) -> T* {
        const int pixel = first_pixel + row;
        return pixel < pixels ? out + static_cast<int64_t>(pixel) * p.outputs : nullptr;
    });
}

template <typename T> __global__ void __launch_bounds__(kThreads, 2) pointwise_kernel(const Group<Pointwise> group) {
    DYNROUTE_SHARED(Stage<T>, stage);
    const Place<Pointwise> place = find(group);
    const float factor = place.problem.gate[blockIdx.z * kRecord + place.problem.slot];
    if (!(factor > 0.0f)) return;
    if (column_width(place.problem.outputs) == 128) {
        pointwise_tile<T, 128>(stage, place.problem, place.block, factor);
    } else {
        pointwise_tile<T, 64>(stage, place.problem, place.block, factor);
    }
}

inline int blocks_of(const Pointwise& p) {
    return ceil_div(p.height * p.width, kTileRows) * column_tiles(p.outputs);
}

}  // namespace dynroute
