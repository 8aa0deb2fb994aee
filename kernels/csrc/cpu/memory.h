// One block of memory per network and image size: every map, ring and scratch row lies in it; a call allocates nothing.
#pragma once
#include <cstddef>
#include <stdexcept>

namespace dynroute {

constexpr size_t kAlign = 64;  // a cache line, and the widest vector
constexpr size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { release(); }

  void reserve(size_t bytes);  // zeroed; what was there before is gone
  void release();
  char* base() const { return base_; }
  size_t bytes() const { return bytes_; }

 private:
  char* base_ = nullptr;
  size_t bytes_ = 0;
};

// Hands out pieces of a block; without a block, only counts what they would take.
class Pieces {
 public:
  explicit Pieces(char* base = nullptr, size_t limit = ~size_t{0}) : base_(base), limit_(limit) {}

  char* take(size_t bytes) {
    const size_t at = used_;
    used_ += aligned(bytes);
    if (used_ > limit_) throw std::logic_error("a scratch block is too small: please report this");
    return base_ ? base_ + at : nullptr;
  }
  float* floats(size_t count) { return reinterpret_cast<float*>(take(count * sizeof(float))); }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t limit_;
  size_t used_ = 0;
};

}  // namespace dynroute
