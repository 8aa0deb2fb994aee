// One instruction set's training step, for float and double. The including file sets ISA_NAME, BYTES, MR_FULL,
// OUTER_FULL.
#include "simd.h"
#include "gemm.h"
#include "depthwise.h"
#include "run.h"
#include "norm.h"
#include "rows.h"
#include "pair.h"
#include "gate.h"
#include "cell.h"
#include "stem.h"
#include "head.h"
#include "cross_entropy.h"
#include "network.h"
#include "update.h"
#include "peak.h"

static Step* make_step(const Shape& shape, bool doubles) {
  if (doubles) return new Network<double>(shape);
  return new Network<float>(shape);
}

static double any_squares(const void* values, int64_t count, bool doubles, int threads) {
  return doubles ? squares(static_cast<const double*>(values), count, threads)
                 : squares(static_cast<const float*>(values), count, threads);
}

static void any_update(const Span* spans, int span_count, void* parameters, const void* gradient, void* momenta,
                       double momentum, double scale, bool doubles, int threads) {
  if (doubles)
    update(spans, span_count, static_cast<double*>(parameters), static_cast<const double*>(gradient),
           static_cast<double*>(momenta), momentum, scale, threads);
  else
    update(spans, span_count, static_cast<float*>(parameters), static_cast<const float*>(gradient),
           static_cast<float*>(momenta), static_cast<float>(momentum), static_cast<float>(scale), threads);
}

static void any_update_adamw(const Span* spans, int span_count, void* parameters, const void* gradient, void* first,
                             void* second, const AdamW& by, bool doubles, int threads) {
  if (doubles)
    update_adamw(spans, span_count, static_cast<double*>(parameters), static_cast<const double*>(gradient),
                 static_cast<double*>(first), static_cast<double*>(second), by, threads);
  else
    update_adamw(spans, span_count, static_cast<float*>(parameters), static_cast<const float*>(gradient),
                 static_cast<float*>(first), static_cast<float*>(second), by, threads);
}

static void any_average(void* averaged, const void* parameters, int64_t count, double keep, bool doubles, int threads) {
  if (doubles)
    average(static_cast<double*>(averaged), static_cast<const double*>(parameters), count, keep, threads);
  else
    average(static_cast<float*>(averaged), static_cast<const float*>(parameters), count, keep, threads);
}

static void any_scaled(const void* values, int64_t count, double factor, void* out, bool doubles, int threads) {
  if (doubles)
    scaled(static_cast<const double*>(values), count, factor, static_cast<double*>(out), threads);
  else
    scaled(static_cast<const float*>(values), count, factor, static_cast<float*>(out), threads);
}

static const Maker MAKER = {ISA_NAME,   LANES<float> * 10, make_step,   any_squares, any_scaled,
                            any_update, any_update_adamw,  any_average, multiply_adds};
