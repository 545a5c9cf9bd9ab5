#pragma once

#include <string>

#include "attune/layers/module.h"

namespace attune {

/// Merges all axes but the first: x [N, H, W, C] -> [N, H * W * C], without a copy.
class Flatten final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Flatten"; }
};

}  // namespace attune
