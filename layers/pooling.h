#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "attune/layers/module.h"

namespace attune {

/// How a pooling window slides: (vertical, horizontal) pairs.
struct PoolingOptions {
  std::array<std::int64_t, 2> kernel{2, 2};
  std::array<std::int64_t, 2> stride{2, 2};
  std::array<std::int64_t, 2> padding{0, 0};
};

/// Largest element of each window: x [N, H, W, C] -> [N, P, Q, C],
/// P = (H + 2 padding - kernel) / stride + 1, rounded down. Padding never wins.
class MaxPool2d final : public Module {
 public:
  using Options = PoolingOptions;

  explicit MaxPool2d(const PoolingOptions& options = {}) : options_(options) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "MaxPool2d"; }

 private:
  PoolingOptions options_;
};

/// Mean of each window, padding counted as zeros: x [N, H, W, C] -> [N, P, Q, C].
class AvgPool2d final : public Module {
 public:
  using Options = PoolingOptions;

  explicit AvgPool2d(const PoolingOptions& options = {}) : options_(options) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "AvgPool2d"; }

 private:
  PoolingOptions options_;
};

/// Mean of each channel: x [N, H, W, C] -> [N, C].
class GlobalAvgPool final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "GlobalAvgPool"; }
};

}  // namespace attune
