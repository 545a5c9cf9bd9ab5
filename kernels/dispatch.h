#pragma once

#include <string>

#include "attune/kernels/device.h"
#include "attune/kernels/error.h"

namespace attune::kernels {

/// Runs `on_cpu` for a CPU device and nothing at all on Device::meta. The one place that maps a
/// device to code: a GPU backend adds its own callable here, and the linker checks that no kernel
/// is missing.
template <typename CpuKernel>
void dispatch(Device device, const char* op, CpuKernel&& on_cpu) {
  switch (device.type) {
    case DeviceType::cpu:
      on_cpu();
      return;
    case DeviceType::meta:
      return;
    case DeviceType::cuda:
      throw Error(std::string(op) + ": attune was built without CUDA support");
  }
}

}  // namespace attune::kernels
