#include <cublas_v2.h>

#include <array>
#include <string>

#include "attune/kernels/cuda/backend.h"
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

cublasStatus_t call(cublasHandle_t blas, cublasOperation_t op_b, cublasOperation_t op_a,
                    std::int64_t n, std::int64_t m, std::int64_t k, float beta, const float* b,
                    std::int64_t b_row, const float* a, std::int64_t a_row, float* c) {
  const float one = 1;
  return cublasSgemm_64(blas, op_b, op_a, n, m, k, &one, b, b_row, a, a_row, &beta, c, n);
}

cublasStatus_t call(cublasHandle_t blas, cublasOperation_t op_b, cublasOperation_t op_a,
                    std::int64_t n, std::int64_t m, std::int64_t k, double beta, const double* b,
                    std::int64_t b_row, const double* a, std::int64_t a_row, double* c) {
  const double one = 1;
  return cublasDgemm_64(blas, op_b, op_a, n, m, k, &one, b, b_row, a, a_row, &beta, c, n);
}

}  // namespace

template <typename T>
void gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
          bool transpose_a, bool transpose_b, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) return simt_gemm(c, a, b, m, n, k, transpose_a, transpose_b, accumulate);
  const auto op = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  check_blas(call(handle(), op(transpose_b), op(transpose_a), n, m, k, accumulate ? T(1) : T(0), b,
                  transpose_b ? k : n, a, transpose_a ? m : k, c),
             "gemm");
}

template void gemm(float*, const float*, const float*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);
template void gemm(double*, const double*, const double*, std::int64_t, std::int64_t, std::int64_t,
                   bool, bool, bool);

}  // namespace attune::kernels::cuda
