// Several problems of one kind in one launch: the cells of a layer, whatever their sizes.
#pragma once

#include "portable.cuh"
#include "problems.h"

namespace dynroute {

// Up to kMostProblems problems of one kind in one launch: block b works on the problem whose range holds it.
template <typename Problem> struct Group {
    Problem problem[kMostProblems];
    int first_block[kMostProblems + 1];
    int count;
};

// Which problem this block works on, and which of that problem's blocks it is.
template <typename Problem> struct Place {
    const Problem& problem;
    int block;
};

template <typename Problem> __device__ Place<Problem> find(const Group<Problem>& group) {
    const int block = static_cast<int>(blockIdx.x);
    int index = 0;
    while (index + 1 < group.count && block >= group.first_block[index + 1]) ++index;
    return {group.problem[index], block - group.first_block[index]};
}

}  // namespace dynroute
