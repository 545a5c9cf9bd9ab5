#pragma once

#include "attune/kernels/device.h"   // IWYU pragma: export
#include "attune/kernels/threads.h"  // IWYU pragma: export

namespace attune {

/// Within the scope, tensors that this thread creates without naming a device are on `device`;
/// elsewhere they are on the CPU. Operations are not concerned: their results are where their
/// operands are.
///
///     const DefaultDevice on_gpu(Device::cuda(0));
///     auto net = resnet18();
class DefaultDevice {
 public:
  explicit DefaultDevice(Device device);
  ~DefaultDevice();
  DefaultDevice(const DefaultDevice&) = delete;
  DefaultDevice& operator=(const DefaultDevice&) = delete;

  /// The innermost scope's device; Device::cpu outside any.
  static Device current();

 private:
  Device outer_;
};

}  // namespace attune
