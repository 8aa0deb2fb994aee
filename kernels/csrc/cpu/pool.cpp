#include "pool.h"

#include <unistd.h>

#include <chrono>
#include <exception>
#include <stdexcept>

namespace dynroute {

namespace {

// Jobs follow each other within microseconds inside a network, where waking a thread costs tens of them: so look for a
// while before sleeping, giving the core away in between on a busy machine.
constexpr int kLooksBeforeYield = 1000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <class Ready>
bool look(int looks, Ready ready) {
  for (int i = 0; i < looks; ++i) {
    if (ready()) return true;
    if (i < kLooksBeforeYield)
      pause();
    else
      std::this_thread::yield();
  }
  return false;
}

}  // namespace

Pool& Pool::shared() {
  static std::mutex mutex;
  static Pool* pool = nullptr;
  static pid_t owner = 0;
  std::lock_guard<std::mutex> lock(mutex);
  if (owner != getpid()) {
    // Never deleted: its threads outlive every static object, and destroying what they sleep on would wait for them. A
    // parent's threads are not here.
    pool = new Pool;
    owner = getpid();
  }
  return *pool;
}

void Pool::take(int id) {
  for (int task; (task = next_.fetch_add(1)) < tasks_;) {
    try {
      (*task_)(task, id);
    } catch (const std::exception& error) {
      std::lock_guard<std::mutex> lock(failure_mutex_);
      if (failure_.empty()) failure_ = error.what();
    }
  }
}

void Pool::work(int id, unsigned seen) {
  for (;;) {
    auto came = [&] { return epoch_.load() != seen; };
    if (!look(looks, came)) {
      std::unique_lock<std::mutex> lock(sleep_mutex_);
      job_came_.wait(lock, came);
    }
    seen = epoch_.load();
    if (id < threads_) take(id);
    if (working_.fetch_sub(1) == 1) {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      job_done_.notify_one();
    }
  }
}

void Pool::run(int threads, int tasks, const Task& task) {
  if (tasks < threads) threads = tasks;
  if (threads <= 1) {
    for (int i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  while (static_cast<int>(workers_.size()) < threads - 1) {
    const int id = static_cast<int>(workers_.size()) + 1;
    workers_.emplace_back(&Pool::work, this, id, epoch_.load());
    workers_.back().detach();
  }
  failure_.clear();
  tasks_ = tasks;
  threads_ = threads;
  task_ = &task;
  next_ = 0;
  working_ = static_cast<int>(workers_.size());
  {
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    epoch_.fetch_add(1);
  }
  job_came_.notify_all();
  take(0);
  // Every worker reports, with or without a task done: none may read this job once the next one is being set up.
  auto done = [&] { return working_.load() == 0; };
  if (!look(looks, done)) {
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    job_done_.wait(lock, done);
  }
  if (!failure_.empty()) throw std::runtime_error(failure_);
}

}  // namespace dynroute
