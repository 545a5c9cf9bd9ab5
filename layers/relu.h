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

}  // namespace attune
