#pragma once

#include <attune/core/device.h>
#include <attune/core/dtype.h>
#include <attune/kernels/cuda_precision.h>

#include <string>

namespace CLI {
class App;
}

namespace attune::examples {

/// Where a program computes, and what a GPU's convolutions multiply floats as.
struct DeviceOptions {
  Device device = Device::cpu;
  CudaPrecision precision = CudaPrecision::fp32;
};

/// Adds --device and --precision to a group of `app`.
void add_device_options(CLI::App& app, DeviceOptions& options, const char* group);

/// "cpu, fp32" or "cuda:0, tf32": what a run's first lines say about where its numbers come from.
std::string describe(const DeviceOptions& options, DType dtype = DType::float32);

/// While it lives, this thread computes as the options say: tensors it creates without naming a
/// device are there. Throws Error, naming the option, if the device cannot be used, and UsageError
/// for a precision that it does not have.
class DeviceScope {
 public:
  explicit DeviceScope(const DeviceOptions& options);

 private:
  DefaultDevice default_device_;
};

}  // namespace attune::examples
