#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/dtype.h"
#include "attune/core/error.h"
#include "attune/core/random.h"
#include "attune/layers/module.h"
#include "tests/catch.h"
#include "tests/test_util.h"

namespace attune::test {

inline std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

/// The tensor called `name`; fails the test if there is none.
inline Tensor find(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [candidate, tensor] : tensors) {
    if (candidate == name) return tensor;
  }
  INFO("no tensor is called " << name);
  REQUIRE(false);
  return {};
}

/// The elements of all floating tensors in a row.
inline std::vector<double> all_values(const NamedTensors& tensors) {
  std::vector<double> values;
  for (const auto& [name, tensor] : tensors) {
    const auto more = tensor.to_vector<double>();
    values.insert(values.end(), more.begin(), more.end());
  }
  return values;
}

inline double relative_error(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.shape() == expected.shape());
  return relative_error(actual.to_vector<double>(), expected.to_vector<double>());
}

/// Gives every vector of the module the values it might have after training: gammas and betas that
/// are not 1 and 0, running statistics far from those of a standard normal input.
inline void pretend_trained(Module& module, Generator& generator) {
  const NoGradGuard no_grad;
  for (auto& [name, tensor] : module.state_dict()) {
    if (tensor.rank() != 1) continue;
    const bool variance = name.ends_with("running_var");
    tensor.copy_(random_uniform(tensor.shape(), variance ? 0.2 : -1, variance ? 3 : 1, generator,
                                tensor.dtype()));
  }
}

}  // namespace attune::test
