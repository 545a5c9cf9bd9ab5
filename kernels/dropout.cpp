#include "attune/kernels/dropout.h"

#include "attune/kernels/cpu/dropout.h"
#include "attune/kernels/cuda/dropout.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void dropout(Device device, T* y, const T* x, std::int64_t count, const DropoutMask& mask) {
  dispatch(
      device, "dropout", [&] { cpu::dropout(y, x, count, mask); },
      [&] { cuda::dropout(y, x, count, mask); });
}

template void dropout(Device, float*, const float*, std::int64_t, const DropoutMask&);
template void dropout(Device, double*, const double*, std::int64_t, const DropoutMask&);

}  // namespace attune::kernels
