// The C functions that Python calls. Every one returns null or a status; the error's text stays per thread.
//
// Order of the weights, float32, C-contiguous: first convolution (n, ky, kx, c) and bias; twice: depthwise (c, ky, kx),
// pointwise (n, k), bias; per cell: twice depthwise, pointwise, bias; up (n, k), bias; down, bias; gate: reduce, bias,
// factors, bias; head: narrow from scale 1 up, each with bias; fuse, bias; predictor (n, ky, kx, c), bias.
#include <exception>
#include <string>

#include "network.h"
#include "pool.h"

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

// `body` on a network, alone: as a whole run, it has the threads to itself.
template <class F>
int alone(void* network, F body) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(dynroute::Pool::shared().busy);
    body(*static_cast<dynroute::Network*>(network));
  });
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

// One operation by itself (alone.cpp), on maps of an image of height × width that `dynroute_map` fills and reads.
API int dynroute_plan(void* network, int height, int width, int threads) {
  return alone(network, [&](dynroute::Network& n) { n.plan(height, width, threads); });
}

// kind: 0 a cell's map, 1 what comes down to it, 2 what comes up to it; fills it, or reads it.
API int dynroute_map(void* network, int kind, int scale, int fills, char* values) {
  return alone(network, [&](dynroute::Network& n) { fills ? n.fill(kind, scale, values) : n.read(kind, scale, values); });
}

API int dynroute_stem(void* network, const void* pixels, int bytes, int height, int width) {
  return alone(network, [&](dynroute::Network& n) { n.stem({pixels, bytes != 0, height, width}); });
}

// came: bits, 1 keep, 2 up, 4 down.
API int dynroute_arrive(void* network, int cell, int came, int gated, float* factors) {
  return alone(network, [&](dynroute::Network& n) { n.arrive_alone(cell, came, gated != 0, factors); });
}

API int dynroute_cell(void* network, int cell, const float* factors) {
  return alone(network, [&](dynroute::Network& n) { n.cell_alone(cell, factors); });
}

API int dynroute_send(void* network, int cell, int path, float factor) {
  return alone(network, [&](dynroute::Network& n) { n.send_alone(cell, path, factor); });
}

// quarter: classes×h×w, is written, or null.
API int dynroute_predict(void* network, float* quarter) {
  return alone(network, [&](dynroute::Network& n) { n.predict_alone(quarter); });
}

// quarter: taken in its place, or null; logits or labels of height × width, or both null.
API int dynroute_enlarge(void* network, const float* quarter, int height, int width, float* logits, uint8_t* labels) {
  return alone(network, [&](dynroute::Network& n) {
    n.enlarge_alone(quarter, {nullptr, false, height, width}, {logits, labels, nullptr, nullptr});
  });
}
