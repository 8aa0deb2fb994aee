#include "memory.h"

#include <sys/mman.h>

#include <new>

namespace dynroute {

void Arena::reserve(size_t bytes) {
  release();
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  madvise(block, bytes, MADV_HUGEPAGE);  // a wish; small pages work too
#endif
  base_ = static_cast<char*>(block);
  bytes_ = bytes;
}

void Arena::release() {
  if (base_) munmap(base_, bytes_);
  base_ = nullptr;
  bytes_ = 0;
}

}  // namespace dynroute
