#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/device.h"

// What tests of every room need, below the level of tensors.
namespace attune::test {

/// Number `index` of the random sequence `seed`, uniform in [0, 1): the output function of
/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) applied to a counter, so it is the same
/// everywhere and needs no state.
inline double uniform(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = (seed * 0x2545f4914f6cdd1dU) + (index + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

/// A stream of such numbers.
class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}

  /// Uniform in [low, high).
  double real(double low, double high) { return low + (high - low) * uniform(seed_, index_++); }
  /// Uniform in {low, ..., high}.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(real(0, static_cast<double>(high - low + 1)));
  }
  bool coin() { return integer(0, 1) == 1; }

 private:
  std::uint64_t seed_, index_ = 0;
};

/// `count` numbers, uniform in [low, high).
template <typename T>
std::vector<T> random_vector(std::int64_t count, std::uint64_t seed, double low = -1,
                             double high = 1) {
  std::vector<T> values(static_cast<std::size_t>(count));
  Random random(seed);
  for (T& value : values) value = static_cast<T>(random.real(low, high));
  return values;
}

/// The largest |actual - expected|, relative to the largest |expected|. NaN if any element of
/// either is NaN, infinity if the sizes differ: so write CHECK(relative_error(a, b) <= tolerance),
/// which both fail.
template <typename T, typename Allocator = std::allocator<T>>
double relative_error(const std::vector<T, Allocator>& actual,
                      const std::vector<T, Allocator>& expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double difference =
        std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (std::isnan(difference)) return difference;
    error = std::max(error, difference);
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return error == 0 ? 0 : error / scale;
}

/// Sum of a[i] * b[i], in double.
template <typename T, typename Allocator>
double dot(const std::vector<T, Allocator>& a, const std::vector<T, Allocator>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b.at(i));
  }
  return sum;
}

/// The message of the exception of type E that `action` throws, as if all had happened on the CPU;
/// empty if it throws none.
template <typename E, typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const E& error) {
    return as_if_on_cpu(error.what());
  }
  return {};
}

}  // namespace attune::test
