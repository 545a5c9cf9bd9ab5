#pragma once

#include <type_traits>
#include <vector>

#include "attune/kernels/threads.h"
#include "tests/catch.h"

// What tests of kernels share.
namespace attune::test {

/// How far a fast kernel may be from the reference, whose sums are in double, relative to the
/// largest element: some ten times the worst error seen.
template <typename T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 5e-6 : 1e-14;
}

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

/// Checks that `run`, which fills a vector of results, gives the same bits for any number of
/// threads.
template <typename T, typename Run>
void check_same_for_any_threads(const Run& run) {
  std::vector<std::vector<T>> expected;
  {
    const ThreadCount one(1);
    run(expected);
  }
  for (const int count : {2, 3, 8}) {
    const ThreadCount several(count);
    std::vector<std::vector<T>> results;
    run(results);
    INFO(count << " threads");
    CHECK(results == expected);
  }
}

}  // namespace attune::test
