// The soft conditional gate: 1×1 by tensor cores, ReLU and the sum over pixels, no map written; then the decision.
//
// gate_sums: a block adds up several tiles of pixels and writes one row of sums. Rows are fixed by the map's size and are
// added in order, so factors repeat bit for bit and an image's do not depend on its batch. The small gate samples its
// quarter-size map as it loads. decide: one block per cell and image reads the rows and writes the cell's record.
#pragma once

#include "routing.cuh"
#include "tile_product.cuh"

namespace dynroute {

// left[row][:depth] = pixel first_pixel + row of x shrunk bilinearly; a pixel's neighbours are found as torch finds them.
template <typename T>
__device__ void load_shrunk(Stage<T>& stage, const GateSums& p, const T* x, int first, int depth, int first_pixel) {
    constexpr int kPerRow = kDepth<T> / 8;
    const int channel = thread() % kPerRow * 8;
    if (channel >= depth) return;
    for (int row = thread() / kPerRow; row < kTileRows; row += kThreads / kPerRow) {
        const int pixel = first_pixel + row;
        float value[8] = {};
        if (pixel < p.height * p.width) {
            const float y = fmaxf(p.step_down * (static_cast<float>(pixel / p.width) + 0.5f) - 0.5f, 0.0f);
            const float column = fmaxf(p.step_across * (static_cast<float>(pixel % p.width) + 0.5f) - 0.5f, 0.0f);
            const int ys[2] = {static_cast<int>(y), min(static_cast<int>(y) + 1, p.in_height - 1)};
            const int xs[2] = {static_cast<int>(column), min(static_cast<int>(column) + 1, p.in_width - 1)};
            const float below = y - static_cast<float>(ys[0]), right = column - static_cast<float>(xs[0]);
#pragma unroll
            for (int corner = 0; corner < 4; ++corner) {
                const float share = (corner / 2 ? below : 1.0f - below) * (corner % 2 ? right : 1.0f - right);
                float term[8];
                load8<T>(x + (static_cast<int64_t>(ys[corner / 2]) * p.in_width + xs[corner % 2]) * p.channels + first + channel, term);
#pragma unroll
                for (int i = 0; i < 8; ++i) value[i] = fmaf(share, term[i], value[i]);
            }
        }
        store8<T>(&stage.left[row][channel], value);
    }
}

// Adds this tile's ReLU(product + bias) over its pixels: each lane to the sums of one column of each of its patches.
template <typename T, int kColumns>
__device__ void add_columns(TileProduct<T, kColumns>& product, Stage<T>& stage, const GateSums& p, int first_output,
                            int pixels, float (&sums)[kColumns / 2 / kPatch]) {
    product.each_patch(stage, [&](int row, int column, const float* patch, int j) {
        const int output = first_output + column + lane() % 16;
        if (output >= p.outputs) return;
        const float bias = p.bias[output];
        const int half = lane() / 16 * 8;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float value = fmaxf(patch[(half + i) * kPatchStride + lane() % 16] + bias, 0.0f);
            if (row + half + i < pixels) sums[j] += value;
        }
    });
}

template <typename T, int kColumns> __device__ void gate_row(Stage<T>& stage, const GateSums& p, int block) {
    constexpr int kAcross = kColumns / 2 / kPatch;
    const int columns = column_tiles(p.outputs), pixels = p.height * p.width;
    const int first_output = block % columns * kColumns, row_of_sums = block / columns;
    const int64_t image = blockIdx.z;
    const T* x = static_cast<const T*>(p.x) + image * p.in_height * p.in_width * p.channels;
    float sums[kAcross] = {};
    for (int tile = 0; tile < p.tiles_per_row; ++tile) {
        const int first_pixel = (row_of_sums * p.tiles_per_row + tile) * kTileRows;
        if (first_pixel >= pixels) break;
        TileProduct<T, kColumns> product;
        product.clear();
        for (int first = 0; first < p.channels; first += kDepth<T>) {
            const int depth = min(kDepth<T>, p.channels - first);
            load_weights<T, kColumns>(stage, static_cast<const T*>(p.weight), first, depth, first_output, p.outputs);
            if (p.step_down > 0.0f) {
                load_shrunk(stage, p, x, first, depth, first_pixel);
            } else {
                load_pixels(stage, first, depth, [&](int row) -> const T* {
                    const int pixel = first_pixel + row;
                    return pixel < pixels ? x + static_cast<int64_t>(pixel) * p.channels : nullptr;
                });
            }
            __syncthreads();
            product.multiply(stage, depth);
            __syncthreads();
        }
        add_columns(product, stage, p, first_output, pixels - first_pixel, sums);
    }
    // Lanes hold halves of a column, warps a quarter of the rows: patches serve again, as sums[warps][columns].
    float* shared = &stage.patch[0][0][0];
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
        const float column = sums[j] + __shfl_xor_sync(0xffffffffu, sums[j], 16);
        if (lane() < 16) shared[warp() / 2 * kColumns + TileProduct<T, kColumns>::first_column() + j * kPatch + lane()] = column;
    }
    __syncthreads();
    const int output = first_output + thread();
    if (thread() >= kColumns || output >= p.outputs) return;
    float total = 0.0f;
    for (int quarter = 0; quarter < kWarps / 2; ++quarter) total += shared[quarter * kColumns + thread()];
    p.sums[(image * p.rows + row_of_sums) * p.outputs + output] = total;
}

template <typename T> __global__ void __launch_bounds__(kThreads, 2) gate_sums_kernel(const Group<GateSums> group) {
    DYNROUTE_SHARED(Stage<T>, stage);
    const Place<GateSums> place = find(group);
    const GateSums& p = place.problem;
    if (*p.mode == kForcedOnes || !arrival(p.sources, blockIdx.z).reached) return;
    if (column_width(p.outputs) == 128) {
        gate_row<T, 128>(stage, p, place.block);
    } else {
        gate_row<T, 64>(stage, p, place.block);
    }
}

inline int blocks_of(const GateSums& p) { return p.rows * column_tiles(p.outputs); }

struct Pooled {
    float part[kWarps][32];
};

// dot[slot] += weight[slot] · Σ rows of sums, in every lane of warp 0.
inline __device__ void pool(Pooled& pooled, const Decide& p, int64_t image, float (&dot)[3]) {
    const float* sums = p.sums + image * p.rows * p.inputs;
    for (int first = 0; first < p.inputs; first += 32) {
        const int input = first + lane();
        float total = 0.0f;
        if (input < p.inputs) {
            for (int row = warp(); row < p.rows; row += kWarps) total += sums[static_cast<int64_t>(row) * p.inputs + input];
        }
        pooled.part[warp()][lane()] = total;
        __syncthreads();
        if (warp() == 0 && input < p.inputs) {
            float all = 0.0f;
            for (int part = 0; part < kWarps; ++part) all += pooled.part[part][lane()];
            for (int slot = 0; slot < 3; ++slot) dot[slot] = fmaf(p.weight[slot * p.inputs + input], all, dot[slot]);
        }
        __syncthreads();
    }
    if (warp() != 0) return;
    for (int slot = 0; slot < 3; ++slot) {
        for (unsigned mask = 16; mask > 0; mask /= 2) dot[slot] += __shfl_xor_sync(0xffffffffu, dot[slot], mask);
    }
}

// The record of a reached cell whose factors are these: open, or closed, which passes its input on unless a route is forced.
inline __device__ void write_record(float* record, const float (&factor)[3], bool forced) {
    const bool open = factor[kKeep] + factor[kUp] + factor[kDown] >= 1e-4f;  // OPEN_THRESHOLD of space.py
    for (int slot = 0; slot < 3; ++slot) record[slot] = open ? factor[slot] : 0.0f;
    if (!open && !forced) record[kKeep] = 1.0f;
    record[kState] = static_cast<float>(open ? kOpen : kClosed);
}

static __global__ void __launch_bounds__(kThreads) decide_kernel(const Group<Decide> group) {
    DYNROUTE_SHARED(Pooled, pooled);
    const Decide& p = find(group).problem;
    const int64_t image = blockIdx.z;
    const int mode = *p.mode;
    float* record = p.gate + image * kRecord;
    if (!arrival(p.sources, image).reached) {
        if (thread() < kRecord) record[thread()] = thread() == kState ? static_cast<float>(kDead) : 0.0f;
        return;
    }
    const bool gated = p.sums != nullptr && mode != kForcedOnes;
    float dot[3] = {};
    if (gated) pool(pooled, p, image, dot);
    if (thread() != 0) return;
    float factor[3];
    for (int slot = 0; slot < 3; ++slot) {
        const float raw = gated ? fmaxf(tanhf(dot[slot] / static_cast<float>(p.pixels) + p.bias[slot]), 0.0f) : 1.0f;
        const bool present = (p.paths >> slot & 1) != 0;
        factor[slot] = present && (mode == kFree || p.route[image * kRecord + slot] != 0) ? raw : 0.0f;
    }
    write_record(record, factor, mode != kFree);
}

inline int blocks_of(const Decide&) { return 1; }

}  // namespace dynroute
