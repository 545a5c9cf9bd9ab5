#pragma once

#include <cstdint>

#include "attune/kernels/device.h"
#include "attune/kernels/step_value.h"

namespace attune::kernels {

/// Which elements are dropped: the random stream that decides, and the probability p in [0, 1).
struct DropoutMask {
  std::uint64_t seed = 0;
  StepValue<std::uint64_t> stream = 0;
  double p = 0;
};

/// y[i] = 0 with probability p, else x[i] / (1 - p), `y` may be `x`. Element i is decided by word
/// i % 4 of philox(seed, stream, i / 4), on every device alike. Its own adjoint.
template <typename T>
void dropout(Device device, T* y, const T* x, std::int64_t count, const DropoutMask& mask);

}  // namespace attune::kernels
