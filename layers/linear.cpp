#include "attune/layers/linear.h"

#include <cmath>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/linear.h"
#include "attune/layers/init.h"

namespace attune {

Linear::Linear(const Options& options, Generator& generator) : options_(options) {
  if (options.in_features < 1 || options.out_features < 1) {
    throw Error(format_text("Linear: {} input and {} output features", options.in_features,
                            options.out_features));
  }
  weight_ = Tensor::empty({options.out_features, options.in_features});
  init::lecun_uniform(weight_, generator);
  register_parameter("weight", weight_);
  if (!options.bias) return;
  const double bound = 1 / std::sqrt(static_cast<double>(options.in_features));
  bias_ = random_uniform({options.out_features}, -bound, bound, generator);
  register_parameter("bias", bias_);
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight_, bias_); }

std::int64_t Linear::flops(const Shape& input, const Shape&) const {
  return 2 * input.count() * options_.out_features;
}

}  // namespace attune
