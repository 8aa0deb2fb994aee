// Labels from quarter-size logits: the ×4 bilinear enlargement (align_corners=False) and its argmax, never written in full.
//
// A thread makes 4 × 4 labels from the 3 × 3 logits around one position. Of equal logits the first class wins.
#pragma once

#include "group.cuh"

namespace dynroute {

// The r-th of four positions enlarged from `at`: left of its centre for r < 2, right of it otherwise.
inline __device__ float enlarged(int r, float before, float at, float after) {
    const float share = r == 0 || r == 3 ? 0.625f : 0.875f;
    const float other = r < 2 ? before : after;
    return share * at + (1.0f - share) * other;
}

static __global__ void __launch_bounds__(kThreads) labels_kernel(const Group<Labels> group) {
    const Place<Labels> place = find(group);
    const Labels& p = place.problem;
    const int position = place.block * kThreads + thread();
    const int64_t plane = static_cast<int64_t>(p.height) * p.width;
    if (position >= plane) return;
    const int y = position / p.width, x = position % p.width;
    if (4 * y >= p.out_height || 4 * x >= p.out_width) return;
    const int64_t rows[3] = {max(y - 1, 0), y, min(y + 1, p.height - 1)};
    const int columns[3] = {max(x - 1, 0), x, min(x + 1, p.width - 1)};
    const float* logits = p.logits + blockIdx.z * plane * p.classes;

    float best[4][4];
    int label[4][4];
    for (int k = 0; k < p.classes; ++k, logits += plane) {
        float wide[3][4];
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            const float* row = logits + rows[i] * p.width;
            const float before = row[columns[0]], at = row[columns[1]], after = row[columns[2]];
#pragma unroll
            for (int r = 0; r < 4; ++r) wide[i][r] = enlarged(r, before, at, after);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const float value = enlarged(i, wide[0][j], wide[1][j], wide[2][j]);
                if (k > 0 && !(value > best[i][j])) continue;
                best[i][j] = value;
                label[i][j] = k;
            }
        }
    }
    unsigned char* out = p.labels + static_cast<int64_t>(blockIdx.z) * p.out_height * p.out_width;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (4 * y + i >= p.out_height || 4 * x + j >= p.out_width) continue;
            out[static_cast<int64_t>(4 * y + i) * p.out_width + 4 * x + j] = static_cast<unsigned char>(label[i][j]);
        }
    }
}

inline int blocks_of(const Labels& p) { return ceil_div(p.height * p.width, kThreads); }

}  // namespace dynroute
