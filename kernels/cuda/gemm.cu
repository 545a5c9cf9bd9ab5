#include "attune/kernels/cuda/gemm.h"
#include "attune/kernels/cuda/parallel.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

// A block computes kTile x kTile elements of C, each thread kPerThread x kPerThread of them. Slices
// of A and B, kDepth wide, go through shared memory, where each element is read by many threads.
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kPerThread = 4;
constexpr int kSide = kTile / kPerThread;  // threads along an edge
constexpr int kGemmThreads = kSide * kSide;

// A matrix in memory: element (i, j) is at i * down + j * across.
template <typename T>
struct Matrix {
  const T* data;
  std::int64_t down, across;

  __device__ T at(std::int64_t i, std::int64_t j) const { return data[i * down + j * across]; }
};

template <typename T>
struct GemmTiles {
  T a[kDepth][kTile + 1];  // transposed; the odd length spreads a column over the banks
  T b[kDepth][kTile + 1];
};

template <typename T>
__global__ void gemm_kernel(T* c, Matrix<T> a, Matrix<T> b, std::int64_t m, std::int64_t n,
                            std::int64_t k, bool accumulate) {
  auto& tiles = shared_memory<GemmTiles<T>>();
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / kSide;
  const int column = thread % kSide;

  T sum[kPerThread][kPerThread] = {};
  for (std::int64_t begin = 0; begin < k; begin += kDepth) {
    for (int i = thread; i < kDepth * kTile; i += kGemmThreads) {
      // Neighbouring threads read neighbouring elements, whichever way the matrix is stored.
      const int a_row = a.across == 1 ? i / kDepth : i % kTile;
      const int a_depth = a.across == 1 ? i % kDepth : i / kTile;
      const bool a_inside = first_row + a_row < m && begin + a_depth < k;
      tiles.a[a_depth][a_row] = a_inside ? a.at(first_row + a_row, begin + a_depth) : T(0);
      const int b_column = b.across == 1 ? i % kTile : i / kDepth;
      const int b_depth = b.across == 1 ? i / kTile : i % kDepth;
      const bool b_inside = first_column + b_column < n && begin + b_depth < k;
      tiles.b[b_depth][b_column] = b_inside ? b.at(begin + b_depth, first_column + b_column) : T(0);
    }
    __syncthreads();
    for (int depth = 0; depth < kDepth; ++depth) {
      T left[kPerThread];
      T right[kPerThread];
      for (int i = 0; i < kPerThread; ++i) left[i] = tiles.a[depth][row + i * kSide];
      for (int j = 0; j < kPerThread; ++j) right[j] = tiles.b[depth][column + j * kSide];
      for (int i = 0; i < kPerThread; ++i) {
        for (int j = 0; j < kPerThread; ++j) sum[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }

  for (int i = 0; i < kPerThread; ++i) {
    for (int j = 0; j < kPerThread; ++j) {
      const std::int64_t y = first_row + row + i * kSide;
      const std::int64_t x = first_column + column + j * kSide;
      if (y >= m || x >= n) continue;
      T& target = c[y * n + x];
      target = accumulate ? target + sum[i][j] : sum[i][j];
    }
  }
}

}  // namespace

// ---- launchers ----

template <typename T>
void simt_gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
               bool transpose_a, bool transpose_b, bool accumulate) {
  const Matrix<T> left = transpose_a ? Matrix<T>{a, 1, m} : Matrix<T>{a, k, 1};
  const Matrix<T> right = transpose_b ? Matrix<T>{b, 1, k} : Matrix<T>{b, n, 1};
  const dim3 grid(static_cast<unsigned>((m + kTile - 1) / kTile),
                  static_cast<unsigned>((n + kTile - 1) / kTile));
  launch(gemm_kernel<T>, grid, kGemmThreads, sizeof(GemmTiles<T>), stream(), c, left, right, m, n,
         k, accumulate);
}

template void simt_gemm(float*, const float*, const float*, std::int64_t, std::int64_t,
                        std::int64_t, bool, bool, bool);
template void simt_gemm(double*, const double*, const double*, std::int64_t, std::int64_t,
                        std::int64_t, bool, bool, bool);

}  // namespace attune::kernels::cuda
