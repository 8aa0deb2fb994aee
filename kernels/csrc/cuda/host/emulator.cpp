// The emulator's scheduler: fibers, barriers, shared memory. See emulator.h.
#include "emulator.h"

#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace emulated {

Fiber* current = nullptr;
dim3 block, grid_size;

namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kSharedBytes = 48 * 1024;
constexpr unsigned kMostThreads = 1024;

std::string error;
unsigned order_kind = 0;  // 0 forward, 1 reversed, warp by warp as far as a warp gets; 2 and more: a seed, in step
const std::function<void()>* body = nullptr;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<std::vector<char>> stacks;
jmp_buf scheduler;
alignas(64) unsigned char shared[kSharedBytes];
float slots[kMostThreads];

[[gnu::noinline]] void to_scheduler() {
    if (_setjmp(current->context) == 0) _longjmp(scheduler, 1);
}

// A fiber is made once and serves block after block; what it runs is whatever `body` is when it is woken.
void fiber_main() {
    for (;;) {
        (*body)();
        current->waiting = Waiting::kDone;
        to_scheduler();
    }
}

void make_fibers(unsigned count) {
    while (fibers.size() < count) {
        fibers.push_back(std::make_unique<Fiber>());
        stacks.emplace_back(kStackBytes);
        fibers.back()->index = static_cast<unsigned>(fibers.size()) - 1;
    }
}

[[gnu::noinline]] void start(Fiber& fiber) {
    static ucontext_t first;
    getcontext(&first);
    first.uc_stack.ss_sp = stacks[fiber.index].data();
    first.uc_stack.ss_size = kStackBytes;
    first.uc_link = nullptr;
    makecontext(&first, fiber_main, 0);
    setcontext(&first);
}

[[gnu::noinline]] void resume(Fiber& fiber) {
    if (_setjmp(scheduler) != 0) return;
    current = &fiber;
    if (fiber.started) _longjmp(fiber.context, 1);
    fiber.started = true;
    start(fiber);
}

// Lets go the threads first..last if all of them wait for this barrier. Lanes of a warp must have made the same calls.
bool release(Waiting barrier, unsigned first, unsigned last) {
    for (unsigned i = first; i < last; ++i) {
        if (fibers[i]->waiting != barrier) return false;
    }
    for (unsigned i = first; i < last; ++i) {
        if (fibers[i]->collectives != fibers[i / 32 * 32]->collectives) fail("lanes of a warp made different warp-wide calls");
        fibers[i]->waiting = Waiting::kNo;
    }
    return true;
}

bool run_once(const unsigned* begin, const unsigned* end) {
    bool moved = false;
    for (const unsigned* i = begin; i != end; ++i) {
        if (fibers[*i]->waiting != Waiting::kNo) continue;
        resume(*fibers[*i]);
        moved = true;
    }
    return moved;
}

void run_block(unsigned threads, const std::vector<unsigned>& order) {
    std::memset(shared, 0xff, sizeof shared);  // NaN, as float and as bf16
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i]->waiting = Waiting::kNo;
        fibers[i]->collectives = 0;
    }
    for (;;) {
        bool moved = false;
        if (order_kind > 1) {
            moved |= run_once(order.data(), order.data() + threads);
            for (unsigned first = 0; first < threads; first += 32) {
                moved |= release(Waiting::kForWarp, first, std::min(first + 32, threads));
            }
        } else {
            for (unsigned at = 0; at < threads; at += 32) {
                const unsigned* lanes = order.data() + at;
                const unsigned count = std::min(32u, threads - at), first = *std::min_element(lanes, lanes + count);
                while (run_once(lanes, lanes + count) || release(Waiting::kForWarp, first, first + count)) moved = true;
            }
        }
        moved |= release(Waiting::kForBlock, 0, threads);
        if (release(Waiting::kDone, 0, threads)) return;
        if (!moved) fail("a barrier that not every thread reaches");
        if (!error.empty()) {
            for (auto& fiber : fibers) fiber->started = false;  // they wait inside a kernel that will not go on
            return;
        }
    }
}

}  // namespace

void fail(const char* why) {
    if (error.empty()) error = why;
}

void wait(Waiting barrier) {
    current->waiting = barrier;
    to_scheduler();
}

void* shared_memory(size_t bytes) {
    if (bytes > kSharedBytes) fail("more shared memory than a block has");
    return shared;
}

float exchange(float value, unsigned from) {
    collective(nullptr, 2);
    slots[current->index] = value;
    wait(Waiting::kForWarp);
    const float found = slots[current->index / 32 * 32 + from];
    wait(Waiting::kForWarp);
    return found;
}

bool collective(const void* address, unsigned stride) {
    const uint64_t call = reinterpret_cast<uintptr_t>(address) * 31 + stride + 1;
    current->collectives = (current->collectives ^ call) * 0x9e3779b97f4a7c15u;
    return current->index % 32 == 0;
}

int launch(dim3 grid, unsigned threads, const std::function<void()>& kernel) {
    error.clear();
    make_fibers(threads);
    std::vector<unsigned> order(threads);
    std::iota(order.begin(), order.end(), 0u);
    if (order_kind == 1) std::reverse(order.begin(), order.end());
    if (order_kind > 1) std::shuffle(order.begin(), order.end(), std::mt19937(order_kind));
    body = &kernel;
    grid_size = grid;
    for (block.z = 0; block.z < grid.z; ++block.z) {
        for (block.y = 0; block.y < grid.y; ++block.y) {
            for (block.x = 0; block.x < grid.x; ++block.x) {
                run_block(threads, order);
                if (!error.empty()) return 1;
            }
        }
    }
    return 0;
}

}  // namespace emulated

extern "C" {
void dynroute_emulator_order(unsigned kind) { emulated::order_kind = kind; }
const char* dynroute_emulator_error() { return emulated::error.c_str(); }
}
