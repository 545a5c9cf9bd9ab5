#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "attune/kernels/conv_algorithm.h"
#include "attune/kernels/cpu_isa.h"
#include "attune/kernels/threads.h"
#include "tests/catch.h"
#include "tests/kernels/device_vector.h"
#include "tests/thread_count.h"

// What tests of kernels share.
namespace attune::test {

/// How far a fast kernel may be from the reference, whose sums are in double, relative to the
/// largest element: some ten times the worst error seen.
template <typename T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 5e-6 : 1e-14;
}

/// Chooses how convolutions are computed, and undoes the choice at the end of the scope.
class ConvPath {
 public:
  ConvPath(const std::string& isa, ConvAlgorithm algorithm)
      : isa_before_(cpu_isa()), algorithm_before_(conv_algorithm()) {
    set_cpu_isa(isa);
    set_conv_algorithm(algorithm);
  }
  ~ConvPath() {
    set_cpu_isa(isa_before_);
    set_conv_algorithm(algorithm_before_);
  }
  ConvPath(const ConvPath&) = delete;
  ConvPath& operator=(const ConvPath&) = delete;

 private:
  std::string isa_before_;
  ConvAlgorithm algorithm_before_;
};

/// Calls body(algorithm) for every instruction set that this machine has, with each algorithm; once
/// where the tests run on a GPU, which has one algorithm.
template <typename Body>
void for_each_conv_path(const Body& body) {
  if (test_device() != Device::cpu) return body(ConvAlgorithm::direct);
  for (const std::string& isa : available_cpu_isas()) {
    for (const ConvAlgorithm algorithm : {ConvAlgorithm::direct, ConvAlgorithm::winograd}) {
      const ConvPath path(isa, algorithm);
      INFO(isa << ", " << to_string(algorithm));
      body(algorithm);
    }
  }
}

/// tolerance<T>() of a convolution: for Winograd's algorithm, four times the worst error seen.
template <typename T>
constexpr double conv_tolerance(ConvAlgorithm algorithm) {
  if (algorithm == ConvAlgorithm::direct) return tolerance<T>();
  return std::is_same_v<T, float> ? 3.3e-5 : 7e-14;
}

/// Checks that `run`, which fills a vector of results, gives the same bits for any number of
/// threads.
template <typename T, typename Run>
void check_same_for_any_threads(const Run& run) {
  std::vector<Vector<T>> expected;
  {
    const ThreadCount one(1);
    run(expected);
  }
  for (const int count : {2, 3, 8}) {
    const ThreadCount several(count);
    std::vector<Vector<T>> results;
    run(results);
    INFO(count << " threads");
    CHECK(results == expected);
  }
}

}  // namespace attune::test
