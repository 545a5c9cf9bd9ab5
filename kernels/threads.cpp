#include "attune/kernels/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string>

#include "attune/kernels/error.h"

namespace attune {
namespace {

// OpenMP keeps its own setting per calling thread; this one holds for the whole process.
std::atomic<int>& thread_count() {
  static std::atomic<int> count{omp_get_max_threads()};
  return count;
}

thread_local bool works_alone = false;

}  // namespace

void set_num_threads(int count) {
  if (count < 1) {
    throw Error("set_num_threads: at least 1 thread is needed, got " + std::to_string(count));
  }
  thread_count() = count;
}

int num_threads() { return works_alone ? 1 : thread_count().load(); }

void run_in_parallel(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  const auto threads = static_cast<int>(std::min<std::int64_t>(num_threads(), count));
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::mutex mutex;
  std::exception_ptr failure;  // no exception may leave a parallel region
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    works_alone = true;
    try {
      body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
    works_alone = false;
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace attune
