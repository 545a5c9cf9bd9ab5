#include "attune/kernels/reference/gemm.h"

namespace attune::kernels::reference {

template <typename T>
void gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
          bool transpose_a, bool transpose_b, bool accumulate) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = accumulate ? static_cast<double>(c[i * n + j]) : 0.0;
      for (std::int64_t l = 0; l < k; ++l) {
        const T from_a = transpose_a ? a[l * m + i] : a[i * k + l];
        const T from_b = transpose_b ? b[j * k + l] : b[l * n + j];
        sum += static_cast<double>(from_a) * static_cast<double>(from_b);
      }
      c[i * n + j] = static_cast<T>(sum);
    }
}

template void gemm(float*, const float*, const float*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);
template void gemm(double*, const double*, const double*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);

}  // namespace attune::kernels::reference
