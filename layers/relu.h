#pragma once

#include <string>

#include "attune/layers/module.h"

namespace attune {

/// max(x, 0), element by element. ConvBN and conv2d() can end in one at no cost.
class ReLU final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ReLU"; }
};

/// min(max(x, 0), 6), element by element.
class ReLU6 final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ReLU6"; }
};

}  // namespace attune
