#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/grad_check.h"
#include "attune/core/tensor.h"
#include "tests/catch.h"
#include "tests/test_util.h"

// What tests of tensors and operations share.
namespace attune::test {

using Index = std::vector<std::int64_t>;

/// A tensor of uniform values in [low, high).
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, double low = -1,
                            double high = 1, DType dtype = DType::float64) {
  return Tensor::from(random_vector<double>(shape.count(), seed, low, high), shape).to(dtype);
}

/// Values at least 0.05 apart from each other, in random order: no ties within a difference
/// quotient's step, and no value near 0.
inline Tensor distinct_tensor(const Shape& shape, std::uint64_t seed) {
  std::vector<double> values(static_cast<std::size_t>(shape.count()));
  Random random(seed);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.05 * (static_cast<double>(i) - static_cast<double>(values.size()) / 2) + 0.025;
  }
  for (std::size_t i = values.size(); i > 1; --i) {
    const auto other = static_cast<std::size_t>(random.integer(0, static_cast<int>(i) - 1));
    std::swap(values[i - 1], values[other]);
  }
  return Tensor::from(values, shape);
}

inline Tensor doubles(const std::vector<double>& values) {
  return Tensor::from(values, Shape{static_cast<std::int64_t>(values.size())});
}

/// Calls visit(index) for every index of `shape`, in row-major order.
template <typename Visit>
void for_each_index(const Shape& shape, const Visit& visit) {
  Index index(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    std::int64_t rest = i;
    for (std::size_t axis = index.size(); axis-- > 0;) {
      index[axis] = rest % shape.begin()[axis];
      rest /= shape.begin()[axis];
    }
    visit(index);
  }
}

/// The element at `index`, aligned at the last axis and repeated along extents of 1.
inline double at(const Tensor& tensor, const Index& index) {
  const auto rank = static_cast<std::size_t>(tensor.rank());
  std::int64_t position = 0;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const std::int64_t size = tensor.shape().begin()[axis];
    const std::int64_t i = index[index.size() - rank + axis];
    position = position * size + (size == 1 ? 0 : i);
  }
  return tensor.to_vector<double>()[static_cast<std::size_t>(position)];
}

/// The tensor with element(index) at every index.
inline Tensor build(const Shape& shape, const std::function<double(const Index&)>& element) {
  std::vector<double> values;
  for_each_index(shape, [&](const Index& index) { values.push_back(element(index)); });
  return Tensor::from(values, shape);
}

/// Largest difference relative to the largest expected value; infinite if shapes differ, NaN if an
/// element is NaN. Write CHECK(error_of(...) <= tolerance), which both fail.
inline double error_of(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return std::numeric_limits<double>::infinity();
  return relative_error(actual.to_vector<double>(), expected.to_vector<double>());
}

inline void check_gradient(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                           const std::vector<Tensor>& inputs,
                           const GradCheckOptions& options = {}) {
  const GradCheckResult result = grad_check(f, inputs, options);
  INFO(result.message);
  CHECK(result.ok);
}

/// What the Error says that `action` throws; empty if it throws none.
template <typename Action>
std::string error_message(const Action& action) {
  return message_of<Error>(action);
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace attune::test
