#pragma once

#include <optional>

#include "attune/core/device.h"

namespace attune {

/// Within the scope, modules that this thread builds have their parameters and buffers on `device`.
/// On Device::meta no initial values are computed, so that the largest network is built at once and
/// takes no memory; its initialisers use up their random streams all the same.
///
///     ConstructOn scope(Device::meta);
///     auto net = resnet101();
class ConstructOn {
 public:
  explicit ConstructOn(Device device);
  ~ConstructOn();
  ConstructOn(const ConstructOn&) = delete;
  ConstructOn& operator=(const ConstructOn&) = delete;

  /// The innermost scope's device; none outside any.
  static std::optional<Device> device();

 private:
  std::optional<Device> outer_;
};

}  // namespace attune
