// What reaches a cell, read from the records of the cells before it. The rules are cell.py's, in evaluation:
// an open cell sends along every path, be it zeros; a closed one sends its own input along keep (factor 1), or, where a
// route is forced (keep's factor is 0), nothing; a dead one sends nothing.
#pragma once

#include "group.cuh"

namespace dynroute {

// Factors with which the three sources send something other than zeros; reached: whether anything, be it zeros, comes.
struct Arrival {
    float down, keep, up;
    bool reached;
};

inline __device__ const float* record(const float* records, int64_t image) {
    return records == nullptr ? nullptr : records + image * kRecord;
}

inline __device__ Arrival arrival(const Sources& sources, int64_t image) {
    const float* down = record(sources.down, image);
    const float* keep = record(sources.keep, image);
    const float* up = record(sources.up, image);
    Arrival found{0.0f, 0.0f, 0.0f, false};
    if (down != nullptr && down[kState] == kOpen) found.down = down[kDown], found.reached = true;
    if (up != nullptr && up[kState] == kOpen) found.up = up[kUp], found.reached = true;
    if (keep != nullptr && keep[kState] != kDead) {
        found.keep = keep[kKeep];
        found.reached = found.reached || keep[kState] == kOpen || found.keep > 0.0f;
    }
    return found;
}

}  // namespace dynroute
