#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/tensor.h"

namespace attune::test {

/// Element `i` of x, in the order of memory, becomes `value`, wherever x is: what data() points to
/// may be a GPU's.
inline void set_element(Tensor x, std::int64_t i, double value) {
  const NoGradGuard no_grad;
  std::vector<double> values = x.to_vector<double>();
  values.at(static_cast<std::size_t>(i)) = value;
  x.copy_(Tensor::from(values, x.shape()));
}

/// The same for one that is added to.
inline void add_to_element(const Tensor& x, std::int64_t i, double value) {
  set_element(x, i, x.to_vector<double>().at(static_cast<std::size_t>(i)) + value);
}

}  // namespace attune::test
