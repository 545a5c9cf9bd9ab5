#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "attune/kernels/threads.h"
#include "tests/kernels/device_vector.h"
#include "tests/test_util.h"

// How the kernel tests compare: fast kernels with the reference, and runs with different numbers of
// threads with one another.
namespace attune::test {

/// How far a kernel may be from its reference, relative to the largest value: some roundings of a
/// float; for double, those of a sum of thousands in another order.
template <typename T>
constexpr double kTolerance = std::is_same_v<T, float> ? 2e-6 : 1e-13;

/// Whether the two hold the same bytes. Unlike ==, takes a NaN to be equal to itself.
template <typename T, typename Allocator>
bool same_bits(const std::vector<T, Allocator>& a, const std::vector<T, Allocator>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Whether compute(), which returns a vector, returns the same bits for 1, 2, 3 and 8 threads.
template <typename Compute>
bool independent_of_threads(const Compute& compute) {
  const int before = num_threads();
  set_num_threads(1);
  const auto expected = compute();
  bool same = true;
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    same = same && same_bits(compute(), expected);
  }
  set_num_threads(before);
  return same;
}

/// d/dx[i] of sum(weight * f(x)) for every i, by central differences: the oracle of the oracles. In
/// double, of functions with values and derivatives around one, good to about 1e-9.
template <typename F>
Vector<double> numerical_gradient(Vector<double> x, const Vector<double>& weight, const F& f) {
  constexpr double kStep = 1e-5;
  Vector<double> gradient;
  for (double& value : x) {
    const double before = value;
    value = before + kStep;
    const double above = dot(f(x), weight);
    value = before - kStep;
    const double below = dot(f(x), weight);
    value = before;
    gradient.push_back((above - below) / (2 * kStep));
  }
  return gradient;
}

}  // namespace attune::test
