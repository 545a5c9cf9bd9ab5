#pragma once

#include "attune/kernels/threads.h"

namespace attune::test {

/// Sets the number of threads, and sets it back at the end of the scope.
class ThreadCount {
 public:
  explicit ThreadCount(int count) : before_(num_threads()) { set_num_threads(count); }
  ~ThreadCount() { set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

}  // namespace attune::test
