#pragma once

#include <string>

#include "attune/core/ops/pool.h"
#include "attune/layers/module.h"

namespace attune {

/// Largest element of each window: x [N, H, W, C] -> [N, P, Q, C],
/// P = (H + 2 padding - window) / stride + 1, rounded down. Padding never wins.
///
///     MaxPool2d({.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}})
class MaxPool2d final : public Module {
 public:
  using Options = Pool2dOptions;

  explicit MaxPool2d(const Pool2dOptions& options = {}) : options_(options) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "MaxPool2d"; }

 private:
  Pool2dOptions options_;
};

/// Mean of each window, padding counted as zeros: x [N, H, W, C] -> [N, P, Q, C].
class AvgPool2d final : public Module {
 public:
  using Options = Pool2dOptions;

  explicit AvgPool2d(const Pool2dOptions& options = {}) : options_(options) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "AvgPool2d"; }

 private:
  Pool2dOptions options_;
};

/// Mean of each channel: x [N, H, W, C] -> [N, C].
class GlobalAvgPool final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "GlobalAvgPool"; }
};

}  // namespace attune
