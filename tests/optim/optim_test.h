#pragma once

#include <string>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/tensor.h"
#include "tests/test_util.h"

namespace attune::test {

/// A parameter with random elements.
inline Tensor parameter(const Shape& shape, std::uint64_t seed, DType dtype = DType::float64) {
  return Tensor::from(random_vector<double>(shape.count(), seed), shape)
      .to(dtype)
      .set_requires_grad();
}

inline void set_random_grad(Tensor& param, std::uint64_t seed) {
  const auto values = random_vector<double>(param.count(), seed);
  param.set_grad(Tensor::from(values, param.shape()).to(param.dtype()));
}

/// The message of the Error that `action` throws; empty if it throws none.
template <typename Action>
std::string error_of(const Action& action) {
  return message_of<Error>(action);
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace attune::test
