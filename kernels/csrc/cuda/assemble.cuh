// A cell's input from what reaches it: keep · map + down + bilinear×2(up), in one pass, in place.
//
// The map of a scale holds the last cell's output there (its input, where that cell is closed), so a map that only a
// closed cell passes on is left as it lies. `up` and `down` come multiplied with their factors. Eight channels a thread.
#pragma once

#include "routing.cuh"

namespace dynroute {

// Neighbours and their shares of position `at` in a row of `length` enlarged to twice its length (align_corners=False).
struct Between {
    int near, far;  // shares 3/4 and 1/4
};

inline __device__ Between between(int at, int length) {
    const int near = at / 2;
    const int far = at % 2 == 0 ? max(near - 1, 0) : min(near + 1, length - 1);
    return {near, far};
}

template <typename T> __device__ void add8(const T* at, float share, float (&value)[8]) {
    float term[8];
    load8<T>(at, term);
#pragma unroll
    for (int i = 0; i < 8; ++i) value[i] = fmaf(share, term[i], value[i]);
}

template <typename T> __global__ void __launch_bounds__(kThreads) assemble_kernel(const Group<Assemble> group) {
    const Place<Assemble> place = find(group);
    const Assemble& p = place.problem;
    const int64_t image = blockIdx.z;
    const Arrival from = arrival(p.sources, image);
    const bool down = p.down != nullptr && from.down > 0.0f, up = p.up != nullptr && from.up > 0.0f;
    if (!from.reached || (from.keep == 1.0f && !down && !up)) return;

    const int groups = p.channels / 8;
    const int64_t index = static_cast<int64_t>(place.block) * kThreads + thread();
    if (index >= static_cast<int64_t>(p.height) * p.width * groups) return;
    const int pixel = static_cast<int>(index / groups), channel = static_cast<int>(index % groups) * 8;
    const int64_t offset = (image * p.height * p.width + pixel) * p.channels + channel;
    T* map = static_cast<T*>(p.map) + offset;
    float value[8] = {};
    if (from.keep > 0.0f) add8<T>(map, from.keep, value);
    if (down) add8<T>(static_cast<const T*>(p.down) + offset, 1.0f, value);
    if (up) {
        const int height = p.height / 2, width = p.width / 2;
        const Between rows = between(pixel / p.width, height), columns = between(pixel % p.width, width);
        const T* plane = static_cast<const T*>(p.up) + image * height * width * p.channels + channel;
        const T* near = plane + static_cast<int64_t>(rows.near) * width * p.channels;
        const T* far = plane + static_cast<int64_t>(rows.far) * width * p.channels;
        add8<T>(near + columns.near * p.channels, 0.5625f, value);
        add8<T>(near + columns.far * p.channels, 0.1875f, value);
        add8<T>(far + columns.near * p.channels, 0.1875f, value);
        add8<T>(far + columns.far * p.channels, 0.0625f, value);
    }
    store8<T>(map, value);
}

inline int blocks_of(const Assemble& p) { return ceil_div(p.height * p.width * (p.channels / 8), kThreads); }

}  // namespace dynroute
