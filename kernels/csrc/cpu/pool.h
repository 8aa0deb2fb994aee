// Threads that take tasks. The caller is one of them; the others sleep between calls.
//
// A pool of our own, not OpenMP: torch brings its own OpenMP library, and two of them spin against each other.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dynroute {

class Pool {
 public:
  using Task = std::function<void(int task, int thread)>;

  // The process's pool; a new one after a fork, whose child has no threads but the forking one.
  static Pool& shared();

  // Runs every task once on up to `threads` threads; throws what the first failing task threw, as runtime_error.
  // One call at a time: the network that calls holds `busy`.
  void run(int threads, int tasks, const Task& task);

  std::mutex busy;

  // How often a thread looks for work, or for its end, before it sleeps.
  int looks = 4000;

 private:
  void work(int id, unsigned seen);
  void take(int id);

  std::vector<std::thread> workers_;
  std::atomic<unsigned> epoch_{0};  // a new value: a new job
  std::atomic<int> next_{0}, working_{0};
  int tasks_ = 0, threads_ = 0;
  const Task* task_ = nullptr;
  std::mutex sleep_mutex_;
  std::condition_variable job_came_, job_done_;
  std::mutex failure_mutex_;
  std::string failure_;
};

}  // namespace dynroute
