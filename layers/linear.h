#pragma once

#include <cstdint>
#include <string>

#include "attune/core/random.h"
#include "attune/layers/module.h"

namespace attune {

/// x [N, in] -> x weight^T + bias [N, out].
///
/// Parameters: weight [out, in] and, if wanted, bias [out], drawn as in PyTorch (layers/init.h).
class Linear final : public Module {
 public:
  struct Options {
    std::int64_t in_features = 0;
    std::int64_t out_features = 0;
    bool bias = true;
  };

  explicit Linear(const Options& options, Generator& generator = default_generator());

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Linear"; }
  std::int64_t flops(const Shape& input, const Shape& output) const override;

  const Options& options() const { return options_; }
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  Options options_;
  Tensor weight_;
  Tensor bias_;  // undefined without one
};

}  // namespace attune
