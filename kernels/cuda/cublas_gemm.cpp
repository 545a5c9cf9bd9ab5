#include <cublas_v2.h>

#include <array>
#include <string>
#include <type_traits>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/elementwise.h"
#include "attune/kernels/cuda/gemm.h"
#include "attune/kernels/cuda/runtime.h"
#include "attune/kernels/error.h"

// NVIDIA's matrix product. It works on columns where this library works on rows: what it takes for
// a matrix is its transpose to us, so C = A B is asked for as C^T = B^T A^T.
namespace attune::kernels::cuda {
namespace {

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(std::string("cuda: ") + what + ": cuBLAS reports error " +
              std::to_string(static_cast<int>(status)));
}

// Of this thread, for each GPU.
cublasHandle_t handle() {
  thread_local std::array<cublasHandle_t, kMaxDevices> handles{};
  cublasHandle_t& own = handles.at(static_cast<std::size_t>(current_device()));
  if (own == nullptr) check_blas(cublasCreate(&own), "setting up cuBLAS");
  check_blas(cublasSetStream(own, stream()), "setting up cuBLAS");
  return own;
}

}  // namespace

template <typename T>
void gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
          bool transpose_a, bool transpose_b, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) {  // cuBLAS refuses rows of no elements
    if (!accumulate) fill(c, T(0), m * n);
    return;
  }
  const auto product = [] {
    if constexpr (std::is_same_v<T, float>) {
      return cublasSgemm_64;
    } else {
      return cublasDgemm_64;
    }
  }();
  const auto op = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const T one = 1, beta = accumulate ? 1 : 0;
  check_blas(product(handle(), op(transpose_b), op(transpose_a), n, m, k, &one, b,
                     transpose_b ? k : n, a, transpose_a ? m : k, &beta, c, n),
             "gemm");
}

template void gemm(float*, const float*, const float*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);
template void gemm(double*, const double*, const double*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);

}  // namespace attune::kernels::cuda
