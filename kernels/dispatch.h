#pragma once

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/device.h"

namespace attune::kernels {

/// Runs `on_cpu` for a CPU device, `on_cuda` for a GPU, which it makes the current one, and nothing
/// at all on Device::meta. The one place that maps a device to code. A build without CUDA has no
/// kernels that `on_cuda` could name, so there it is not compiled; in one with CUDA the linker
/// checks that none is missing.
template <typename CpuKernel, typename CudaKernel>
void dispatch(Device device, const char* op, CpuKernel&& on_cpu,
              [[maybe_unused]] CudaKernel&& on_cuda) {
  switch (device.type) {
    case DeviceType::cpu:
      on_cpu();
      return;
    case DeviceType::meta:
      return;
    case DeviceType::cuda:
      cuda::use_device(device.index, op);
#if ATTUNE_HAS_CUDA
      on_cuda();
#endif
  }
}

}  // namespace attune::kernels
