// The entry points: one launch for up to kMostProblems problems of a kind, for all images of a batch (blockIdx.z).
//
// Each returns 0, or the CUDA error of the launch. Shapes, types and devices have been checked before (kernels/cuda/operators.py);
// nothing here waits for the device. floats: 1 where maps and weights are float32, 0 where they are bf16.
#include "assemble.cuh"
#include "dense.cuh"
#include "gate.cuh"
#include "labels.cuh"
#include "pointwise.cuh"
#include "separable.cuh"

namespace dynroute {
namespace {

constexpr int kTooMany = -1;

template <typename Problem> struct Grid {
    Group<Problem> group{};
    dim3 blocks;
};

template <typename Problem> bool fill(Grid<Problem>& grid, const Problem* problems, int count, int images) {
    if (count < 1 || count > kMostProblems || images < 1) return false;
    grid.group.count = count;
    for (int i = 0; i < count; ++i) {
        grid.group.problem[i] = problems[i];
        grid.group.first_block[i + 1] = grid.group.first_block[i] + blocks_of(problems[i]);
    }
    grid.blocks = dim3(static_cast<unsigned>(grid.group.first_block[count]), 1, static_cast<unsigned>(images));
    return true;
}

}  // namespace
}  // namespace dynroute

using namespace dynroute;

#define DYNROUTE_ENTRY(name, Problem, float_kernel, bf16_kernel)                                                      \
    extern "C" int dynroute_##name(const Problem* problems, int count, int images, int floats, void* stream) {        \
        Grid<Problem> grid;                                                                                           \
        if (!fill(grid, problems, count, images)) return kTooMany;                                                    \
        if (floats != 0) return DYNROUTE_LAUNCH(float_kernel, grid.blocks, kThreads, stream, grid.group);             \
        return DYNROUTE_LAUNCH(bf16_kernel, grid.blocks, kThreads, stream, grid.group);                               \
    }                                                                                                                 \
    extern "C" int dynroute_sizeof_##name() { return static_cast<int>(sizeof(Problem)); }

DYNROUTE_ENTRY(separable, Separable, (separable_kernel<float, 1>), (separable_kernel<bf16, 1>))
DYNROUTE_ENTRY(separable_halving, Separable, (separable_kernel<float, 2>), (separable_kernel<bf16, 2>))
DYNROUTE_ENTRY(pointwise, Pointwise, (pointwise_kernel<float>), (pointwise_kernel<bf16>))
DYNROUTE_ENTRY(gate_sums, GateSums, (gate_sums_kernel<float>), (gate_sums_kernel<bf16>))
DYNROUTE_ENTRY(decide, Decide, decide_kernel, decide_kernel)
DYNROUTE_ENTRY(assemble, Assemble, (assemble_kernel<float>), (assemble_kernel<bf16>))
DYNROUTE_ENTRY(logits, Logits, (logits_kernel<float>), (logits_kernel<bf16>))
DYNROUTE_ENTRY(stem, Stem, (stem_kernel<float>), (stem_kernel<bf16>))
DYNROUTE_ENTRY(labels, Labels, labels_kernel, labels_kernel)

#ifndef DYNROUTE_EMULATED
extern "C" const char* dynroute_error(int code) {
    return code == kTooMany ? "1 to 8 problems and at least one image are needed"
                            : cudaGetErrorString(static_cast<cudaError_t>(code));
}
#endif
