#include "attune/kernels/threads.h"

#include <omp.h>

#include <atomic>
#include <string>

#include "attune/kernels/error.h"

namespace attune {
namespace {

// OpenMP keeps its own setting per calling thread; this one holds for the whole process.
std::atomic<int>& thread_count() {
  static std::atomic<int> count{omp_get_max_threads()};
  return count;
}

}  // namespace

void set_num_threads(int count) {
  if (count < 1) {
    throw Error("set_num_threads: at least 1 thread is needed, got " + std::to_string(count));
  }
  thread_count() = count;
}

int num_threads() { return thread_count(); }

}  // namespace attune
