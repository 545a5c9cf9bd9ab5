#include "attune/kernels/gemm.h"

#include "attune/kernels/cpu/gemm.h"
#include "attune/kernels/cuda/gemm.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void gemm(Device device, T* c, const T* a, const T* b, std::int64_t m, std::int64_t n,
          std::int64_t k, bool transpose_a, bool transpose_b, bool accumulate) {
  dispatch(
      device, "gemm", [&] { cpu::gemm(c, a, b, m, n, k, transpose_a, transpose_b, accumulate); },
      [&] { cuda::gemm(c, a, b, m, n, k, transpose_a, transpose_b, accumulate); });
}

template void gemm(Device, float*, const float*, const float*, std::int64_t, std::int64_t,
                   std::int64_t, bool, bool, bool);
template void gemm(Device, double*, const double*, const double*, std::int64_t, std::int64_t,
                   std::int64_t, bool, bool, bool);

}  // namespace attune::kernels
