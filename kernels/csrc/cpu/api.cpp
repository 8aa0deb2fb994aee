// The C functions that Python calls. Every one returns null or a status; the error's text stays per thread.
//
// Order of the weights, float32, C-contiguous: first convolution (n, ky, kx, c) and bias; twice: depthwise (c, ky, kx),
// pointwise (n, k), bias; per cell: twice depthwise, pointwise, bias; up (n, k), bias; down, bias; gate: reduce, bias,
// factors, bias; head: narrow from scale 1 up, each with bias; fuse, bias; predictor (n, ky, kx, c), bias.
#include <exception>
#include <string>

#include "network.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string error;

template <class F>
int guarded(F body) {
  try {
    body();
    return 0;
  } catch (const std::exception& caught) {
    error = caught.what();
    return 1;
  }
}

}  // namespace

API const char* dynroute_error() { return error.c_str(); }

// The instruction set that would run, or null: `wanted` names none that this processor and this build have.
API const char* dynroute_isa(const char* wanted, int bf16) {
  const dynroute::Kernels* kernels = dynroute::choose_kernels(wanted, bf16);
  return kernels ? kernels->isa : nullptr;
}

// sizes: classes, channels, stem channels, head scales, small gate; cells: per cell layer, scale, paths, the paths'
// codes (keep 0, up 1, down 2) as base-4 digits from the lowest, has a gate.
API void* dynroute_create(const char* wanted, int bf16, const int64_t* sizes, const float* mean, const int64_t* cells,
                          int cell_count, const float* weights, int64_t weight_count) {
  dynroute::Network* made = nullptr;
  guarded([&] {
    const dynroute::Kernels* kernels = dynroute::choose_kernels(wanted, bf16);
    if (!kernels) throw std::invalid_argument("no such instruction set here");
    dynroute::Description d;
    d.classes = static_cast<int>(sizes[0]);
    d.channels = static_cast<int>(sizes[1]);
    d.stem_channels = static_cast<int>(sizes[2]);
    d.head_scales = static_cast<int>(sizes[3]);
    d.small_gate = sizes[4] != 0;
    for (int c = 0; c < 3; ++c) d.mean[c] = mean[c];
    made = new dynroute::Network(*kernels, d, cells, cell_count, weights, static_cast<size_t>(weight_count));
  });
  return made;
}

API void dynroute_destroy(void* network) { delete static_cast<dynroute::Network*>(network); }

API int64_t dynroute_arena_bytes(void* network) {
  return static_cast<int64_t>(static_cast<dynroute::Network*>(network)->arena_bytes());
}

API int dynroute_run(void* network, const void* pixels, int bytes, int height, int width, const uint8_t* mask,
                     int gate_factors, int threads, float* logits, uint8_t* labels, float* factors, uint8_t* states) {
  return guarded([&] {
    dynroute::Image image{pixels, bytes != 0, height, width};
    dynroute::Forced forced{mask, gate_factors != 0};
    dynroute::Outputs out{logits, labels, factors, states};
    static_cast<dynroute::Network*>(network)->run(image, forced, threads, out);
  });
}
