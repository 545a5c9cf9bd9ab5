#include <cublas_v2.h>

struct EmulatedBlas {
  cudaStream_t stream = nullptr;
};

namespace {

template <typename T>
void multiply(cublasOperation_t op_a, cublasOperation_t op_b, std::int64_t m, std::int64_t n,
              std::int64_t k, T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb,
              T beta, T* c, std::int64_t ldc) {
  const emulation::DeviceMemoryInUse in_use;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l) {
        const T left = op_a == CUBLAS_OP_N ? a[i + l * lda] : a[l + i * lda];
        const T right = op_b == CUBLAS_OP_N ? b[l + j * ldb] : b[j + l * ldb];
        sum += static_cast<double>(left) * static_cast<double>(right);
      }
      T& target = c[i + j * ldc];
      const T before = beta == 0 ? T(0) : beta * target;  // not read if beta is 0
      target = static_cast<T>(static_cast<double>(alpha) * sum) + before;
    }
  }
}

template <typename T>
cublasStatus_t gemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                    std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
                    std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c,
                    std::int64_t ldc) {
  if (lda < (op_a == CUBLAS_OP_N ? m : k) || ldb < (op_b == CUBLAS_OP_N ? k : n) || ldc < m) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulation::launch_error() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  emulation::enqueue(handle->stream,
                     [=] { multiply(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); });
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  thread_local EmulatedBlas of_this_thread;
  *handle = &of_this_thread;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm_64(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                              std::int64_t m, std::int64_t n, std::int64_t k, const float* alpha,
                              const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                              const float* beta, float* c, std::int64_t ldc) {
  return gemm(handle, op_a, op_b, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}

cublasStatus_t cublasDgemm_64(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                              std::int64_t m, std::int64_t n, std::int64_t k, const double* alpha,
                              const double* a, std::int64_t lda, const double* b, std::int64_t ldb,
                              const double* beta, double* c, std::int64_t ldc) {
  return gemm(handle, op_a, op_b, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}
