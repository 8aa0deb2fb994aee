// The C functions that Python calls. Every one returns null or a status; the error's text stays per thread.
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "../pool.h"
#include "step.h"

#define API extern "C" __attribute__((visibility("default")))

namespace dynroute {

void parallel(int threads, int tasks, void (*task)(void* context, int task, int thread), void* context) {
  // Phases follow each other within microseconds, but beside a busy neighbour whoever looks for work keeps the core
  // from whoever has it: a few looks gain a few per cent on an idle machine, thousands lose a quarter on a busy one.
  Pool& pool = Pool::shared();
  pool.looks = 200;
  pool.run(threads, tasks, [=](int number, int thread) { task(context, number, thread); });
}

namespace {

thread_local std::string error;

template <class F>
int guarded(F body) {
  try {
    std::lock_guard<std::mutex> lock(Pool::shared().busy);
    body();
    return 0;
  } catch (const std::exception& caught) {
    error = caught.what();
    return 1;
  }
}

bool runs(const char* isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!std::strcmp(isa, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!std::strcmp(isa, "avx2")) return avx2;
#endif
  return !std::strcmp(isa, "plain");
}

// The best instruction set that this processor has, or the one asked for; null where it cannot be had.
const Maker* choose(const char* wanted) {
  for (const Maker* maker : {maker_avx512(), maker_avx2(), maker_plain()})
    if (maker && (*wanted ? !std::strcmp(wanted, maker->isa) : true) && runs(maker->isa)) return maker;
  return nullptr;
}

const Maker& chosen(const char* wanted) {
  const Maker* maker = choose(wanted);
  if (!maker) throw std::invalid_argument("no such instruction set here");
  return *maker;
}

// spans: per tensor its first element and its number of elements; decay and rate: one per tensor.
std::vector<Span> spans_of(const int64_t* spans, const double* decay, const double* rate, int count) {
  std::vector<Span> all;
  for (int i = 0; i < count; ++i) all.push_back({spans[2 * i], spans[2 * i + 1], decay[i], rate[i]});
  return all;
}

// A step and what its shape points to.
struct Made {
  std::vector<CellShape> cells;
  std::vector<int64_t> parameters, statistics;
  Step* step = nullptr;
  ~Made() { delete step; }
};

}  // namespace
}  // namespace dynroute

using dynroute::guarded;

API const char* dynroute_step_error() { return dynroute::error.c_str(); }

API const char* dynroute_step_isa(const char* wanted) {
  const dynroute::Maker* maker = dynroute::choose(wanted);
  return maker ? maker->isa : nullptr;
}

// sizes: images, height, width, channels, stem channels, classes, head scales, gate, cells, paths, parameters,
// statistics. cells: per cell layer, scale, then the place of keep, up and down among its paths, or -1.
API void* dynroute_step_create(const char* isa, int doubles, const int64_t* sizes, const int64_t* cells,
                               const int64_t* parameters, const int64_t* statistics, const double* mean,
                               double epsilon) {
  dynroute::Made* made = nullptr;
  const int failed = guarded([&] {
    made = new dynroute::Made;
    dynroute::Shape shape{};
    int* const fields[] = {&shape.images,  &shape.height,      &shape.width, &shape.channels,   &shape.middle,
                           &shape.classes, &shape.head_scales, &shape.gate,  &shape.cell_count, &shape.path_count};
    for (int* field : fields) *field = static_cast<int>(*sizes++);
    for (int i = 0; i < shape.cell_count; ++i, cells += 5) {
      dynroute::CellShape cell{static_cast<int>(cells[0]), static_cast<int>(cells[1]), {}, 0};
      for (int path = 0; path < dynroute::kPaths; ++path) {
        cell.order[path] = static_cast<int>(cells[2 + path]);
        cell.paths += cell.order[path] >= 0;
      }
      made->cells.push_back(cell);
    }
    made->parameters.assign(parameters, parameters + sizes[0]);
    made->statistics.assign(statistics, statistics + sizes[1]);
    shape.cells = made->cells.data(), shape.parameters = made->parameters.data(),
    shape.statistics = made->statistics.data();
    std::memcpy(shape.mean, mean, sizeof shape.mean);
    shape.epsilon = epsilon;
    made->step = dynroute::chosen(isa).make(shape, doubles != 0);
  });
  if (failed) delete made, made = nullptr;
  return made;
}

API void dynroute_step_destroy(void* step) { delete static_cast<dynroute::Made*>(step); }

API int64_t dynroute_step_bytes(void* step) {
  return static_cast<int64_t>(static_cast<dynroute::Made*>(step)->step->bytes());
}

API int dynroute_step_forward(void* step, int threads, const void* pixels, int bytes, const int64_t* stride,
                              const void* parameters, void* statistics, double momentum, const uint8_t* forced,
                              int gate_factors, const void* drop, void* logits, void* factors, uint8_t* open) {
  return guarded([&] {
    const dynroute::Images images{pixels, bytes != 0, {stride[0], stride[1], stride[2], stride[3]}};
    const dynroute::Forward given{images, parameters, statistics, forced,  gate_factors != 0,
                                  drop,   momentum,   logits,     factors, open};
    static_cast<dynroute::Made*>(step)->step->forward(given, threads);
  });
}

API int dynroute_step_backward(void* step, int threads, const void* logits, const void* factors, void* parameters) {
  return guarded([&] { static_cast<dynroute::Made*>(step)->step->backward({logits, factors, parameters}, threads); });
}

API int dynroute_step_cross_entropy(void* step, int threads, const void* logits, const uint8_t* labels,
                                    const void* weights, void* gradient, double* loss) {
  return guarded([&] {
    *loss = static_cast<dynroute::Made*>(step)->step->cross_entropy({logits, labels, weights, gradient}, threads);
  });
}

// The multiply-accumulates of `rounds` rounds in registers, one after the other on this thread.
API int64_t dynroute_step_multiply_adds(const char* isa, int64_t rounds) {
  int64_t done = 0;
  guarded([&] {
    const dynroute::Maker& maker = dynroute::chosen(isa);
    volatile float kept = maker.multiply_adds(rounds);
    (void)kept;
    done = rounds * maker.macs;
  });
  return done;
}

API int dynroute_step_squares(const char* isa, int doubles, int threads, const void* values, int64_t count,
                              double* sum) {
  return guarded([&] { *sum = dynroute::chosen(isa).squares(values, count, doubles != 0, threads); });
}

API int dynroute_step_scaled(const char* isa, int doubles, int threads, const void* values, int64_t count,
                             double factor, void* out) {
  return guarded([&] { dynroute::chosen(isa).scaled(values, count, factor, out, doubles != 0, threads); });
}

API int dynroute_step_update(const char* isa, int doubles, int threads, const int64_t* spans, const double* decay,
                             const double* rate, int count, void* parameters, const void* gradient, void* momenta,
                             double momentum, double scale) {
  return guarded([&] {
    const auto all = dynroute::spans_of(spans, decay, rate, count);
    dynroute::chosen(isa).update(all.data(), count, parameters, gradient, momenta, momentum, scale, doubles != 0,
                                 threads);
  });
}

// by: the two averages' shares that stay, epsilon, the gradient's scale.
API int dynroute_step_update_adamw(const char* isa, int doubles, int threads, const int64_t* spans, const double* decay,
                                   const double* rate, int count, void* parameters, const void* gradient, void* first,
                                   void* second, const double* by, int64_t step) {
  return guarded([&] {
    const auto all = dynroute::spans_of(spans, decay, rate, count);
    dynroute::chosen(isa).update_adamw(all.data(), count, parameters, gradient, first, second,
                                       {by[0], by[1], by[2], by[3], step}, doubles != 0, threads);
  });
}

API int dynroute_step_average(const char* isa, int doubles, int threads, void* averaged, const void* parameters,
                              int64_t count, double keep) {
  return guarded([&] { dynroute::chosen(isa).average(averaged, parameters, count, keep, doubles != 0, threads); });
}
