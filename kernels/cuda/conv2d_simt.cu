#include <algorithm>

#include "attune/kernels/cuda/conv2d_epilogue.h"
#include "attune/kernels/cuda/conv2d_gather.h"
#include "attune/kernels/cuda/conv2d_parts.h"
#include "attune/kernels/cuda/conv2d_simt.h"

// The second step of the ladder (docs/cuda_ladder.md). A block computes a tile of the product. It
// brings a slice of both factors into shared memory, where each value is read by many threads, and
// each thread multiplies kThreadRows by kThreadColumns values that it holds in registers: two loads
// for some ten multiply-adds, where the naive kernel needs two loads for each.
//
// Executed under emulation, not yet on a GPU.
namespace attune::kernels::cuda::simt {
namespace {

// ---- kernels ----------------------------------------------------------------------------------

/// A block's tile of kRows x kColumns of the product, and a thread's share of it.
template <int kRows_, int kColumns_, int kThreadRows_, int kThreadColumns_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kThreadRows = kThreadRows_, kThreadColumns = kThreadColumns_;
  static constexpr int kDepth = 16;  ///< terms of the sums in shared memory at a time
  static constexpr int kThreadsDown = kRows / kThreadRows;
  static constexpr int kThreads = kThreadsDown * (kColumns / kThreadColumns);

  /// Transposed, so that a thread's rows and columns are neighbours; the extra columns spread the
  /// transposing stores over the banks.
  struct Shared {
    alignas(16) float a[kDepth][kRows + 4];
    alignas(16) float b[kDepth][kColumns + 4];
    float of_threads[kThreadsDown][kColumns];  ///< what each has of a sum over the rows
  };
  using Sums = float[kThreadRows][kThreadColumns];
  using OfColumns = float[kThreadColumns];

  static __device__ int thread_down() { return threadIdx.x / (kColumns / kThreadColumns); }
  static __device__ int first_row() { return thread_down() * kThreadRows; }
  static __device__ int first_column() {
    return threadIdx.x % (kColumns / kThreadColumns) * kThreadColumns;
  }

  static __device__ void multiply(Sums& sums, const Shared& shared) {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float a[kThreadRows], b[kThreadColumns];
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) a[i] = shared.a[k][first_row() + i];
#pragma unroll
      for (int j = 0; j < kThreadColumns; ++j) b[j] = shared.b[k][first_column() + j];
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
        for (int j = 0; j < kThreadColumns; ++j) sums[i][j] += a[i] * b[j];
      }
    }
  }

  /// For each of this thread's columns j, the sum of term(i, j) over the first `rows` rows of the
  /// block, where i counts the rows of the thread that has them.
  template <typename Term>
  static __device__ void sum_over_rows(OfColumns& total, Shared& shared, int rows,
                                       const Term& term) {
    __syncthreads();  // the last sums have been read
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) {
        if (first_row() + i < rows) sum += term(i, j);
      }
      shared.of_threads[thread_down()][first_column() + j] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      total[j] = 0;
      for (const auto& of_thread : shared.of_threads) total[j] += of_thread[first_column() + j];
    }
  }
};

/// Neighbouring floats that are loaded as one.
template <int kCount>
struct alignas(kCount * sizeof(float)) Vector {
  float v[kCount];

  static __device__ Vector load(const float* from, bool valid) {
    return valid ? *reinterpret_cast<const Vector*>(from) : Vector{};
  }
};

/// y = epilogue(conv(x, w)), or the same with dx and dy; and unless `moments` is null, those of
/// each block's columns: moments [blocks, channels].
template <typename Tile, int kVector>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    conv2d_kernel(const ConvProblem problem, float* y, const float* x, const float* w,
                  const Conv2dEpilogue<float> epilogue, Moments* moments) {
  auto& shared = shared_memory<typename Tile::Shared>();
  const ConvProduct product(problem);
  const int pixels = product.pixels(problem), depth = product.depth(problem);
  const int first_pixel = blockIdx.x * Tile::kRows, first_filter = blockIdx.y * Tile::kColumns;
  if (first_pixel >= pixels) return;  // this class has fewer of them than others

  ConvGather<kVector, Tile::kDepth, Tile::kThreads, Tile::kRows, Tile::kColumns> gather(
      problem, product, x, w, first_pixel, first_filter);
  const auto put_into = [](auto& tile) {
    return [&tile](int row, int chunk, const float* from, bool valid) {
      const auto values = Vector<kVector>::load(from, valid);
#pragma unroll
      for (int i = 0; i < kVector; ++i) tile[chunk * kVector + i][row] = values.v[i];
    };
  };
  typename Tile::Sums sums = {};
  for (int k = 0; k < depth; k += Tile::kDepth) {
    gather.next(put_into(shared.a), put_into(shared.b));
    __syncthreads();  // the slice is there ...
    Tile::multiply(sums, shared);
    __syncthreads();  // ... and done with
  }

  const int channels = problem.filters * problem.groups;
  const int first_channel = product.group * problem.filters;
#pragma unroll
  for (int i = 0; i < Tile::kThreadRows; ++i) {
    const int m = first_pixel + Tile::first_row() + i;
    if (m >= pixels) continue;
    const std::ptrdiff_t target = product.target(m) * channels;
#pragma unroll
    for (int j = 0; j < Tile::kThreadColumns; j += 2) {
      const int n = first_filter + Tile::first_column() + j;
      if (n >= problem.filters) continue;
      const int channel = first_channel + n;
      const ChannelPair pair(channel, first_channel + problem.filters, channels);
      const float2 v = apply_epilogue(epilogue, make_float2(sums[i][j], sums[i][j + 1]),
                                      target + channel, channel, pair);
      pair.store(y + target + channel, v);
      sums[i][j] = v.x, sums[i][j + 1] = v.y;
    }
  }
  if (!moments) return;
  // Of what was stored, a column at a time: first the mean, then how far the values are from it.
  const int rows = std::min(+Tile::kRows, pixels - first_pixel);
  typename Tile::OfColumns mean, m2;
  Tile::sum_over_rows(mean, shared, rows, [&](int i, int j) { return sums[i][j]; });
#pragma unroll
  for (float& column : mean) column *= 1.0F / rows;
  Tile::sum_over_rows(m2, shared, rows, [&](int i, int j) {
    return (sums[i][j] - mean[j]) * (sums[i][j] - mean[j]);
  });
  if (Tile::thread_down() != 0) return;
  moments += static_cast<std::ptrdiff_t>(blockIdx.x) * channels + first_channel;
#pragma unroll
  for (int j = 0; j < Tile::kThreadColumns; ++j) {
    const int n = first_filter + Tile::first_column() + j;
    if (n < problem.filters) moments[n] = {mean[j], m2[j]};
  }
}

/// One part of dw, and one of db unless that is null: of the pixels that are this block's by
/// blockIdx.z.
template <typename Tile, int kVector>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    conv2d_weight_kernel(const ConvProblem problem, float* dw_parts, float* db_parts,
                         const float* x, const float* dy, int pixels_a_part) {
  auto& shared = shared_memory<typename Tile::Shared>();
  const int group = blockIdx.z % problem.groups, part = blockIdx.z / problem.groups;
  const int pixels = problem.outputs();
  const int first_pixel = part * pixels_a_part,
            last_pixel = std::min(first_pixel + pixels_a_part, pixels);
  const int first_filter = blockIdx.x * Tile::kRows, first_column = blockIdx.y * Tile::kColumns;

  ConvWeightGather<kVector, Tile::kDepth, Tile::kThreads, Tile::kRows, Tile::kColumns> gather(
      problem, group, x, dy, first_pixel, last_pixel, first_filter, first_column);
  const auto put_into = [](auto& tile) {
    return [&tile](int row, int chunk, const float* from, bool valid) {
      *reinterpret_cast<Vector<kVector>*>(&tile[row][chunk * kVector]) =
          Vector<kVector>::load(from, valid);
    };
  };
  const bool sums_dy = db_parts && blockIdx.y == 0 && threadIdx.x < Tile::kRows;
  float db = 0;
  typename Tile::Sums sums = {};
  for (int m = first_pixel; m < last_pixel; m += Tile::kDepth) {
    gather.next(put_into(shared.a), put_into(shared.b));
    __syncthreads();
    Tile::multiply(sums, shared);
    if (sums_dy) {
      for (const auto& row : shared.a) db += row[threadIdx.x];
    }
    __syncthreads();
  }

  const int columns = problem.taps() * problem.depth;
  const std::ptrdiff_t filters = problem.filters * problem.groups;
  const std::ptrdiff_t first = part * filters + group * problem.filters;
  if (sums_dy && first_filter + static_cast<int>(threadIdx.x) < problem.filters) {
    db_parts[first + first_filter + threadIdx.x] = db;
  }
#pragma unroll
  for (int i = 0; i < Tile::kThreadRows; ++i) {
    const int k = first_filter + Tile::first_row() + i;
#pragma unroll
    for (int j = 0; j < Tile::kThreadColumns; ++j) {
      const int n = first_column + Tile::first_column() + j;
      if (k < problem.filters && n < columns) dw_parts[(first + k) * columns + n] = sums[i][j];
    }
  }
}

// ---- launchers --------------------------------------------------------------------------------

using WideTile = Tile<128, 64, 8, 4>;
using NarrowTile = Tile<128, 16, 4, 2>;
using WeightTile = Tile<64, 64, 4, 4>;
using SmallWeightTile = Tile<16, 16, 1, 1>;

template <typename Tile, int kVector>
void run(const ConvProblem& problem, float* y, const float* x, const float* w,
         const Conv2dEpilogue<float>& epilogue) {
  launch_product<Tile, Tile::kRows>(conv2d_kernel<Tile, kVector>, problem, y, x, w, epilogue);
}

void run(const ConvProblem& problem, float* y, const float* x, const float* w,
         const Conv2dEpilogue<float>& epilogue) {
  const bool wide = problem.filters > NarrowTile::kColumns, vectors = problem.depth % 4 == 0;
  const auto chosen = wide ? (vectors ? run<WideTile, 4> : run<WideTile, 1>)
                           : (vectors ? run<NarrowTile, 4> : run<NarrowTile, 1>);
  chosen(problem, y, x, w, epilogue);
}

template <typename Tile, int kVector>
void run_weight(const ConvProblem& problem, const Conv2dShape& shape, float* dw, const float* x,
                const float* dy, bool accumulate, const Conv2dBiasGradient<float>& bias) {
  launch_weight_product<Tile>(conv2d_weight_kernel<Tile, kVector>, problem, shape, dw, x, dy,
                              accumulate, bias);
}

}  // namespace

void conv2d_forward(float* y, const float* x, const float* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<float>& epilogue) {
  run(forward_problem(shape), y, x, w, epilogue);
}

void conv2d_backward_input(float* dx, const float* dy, const float* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<float>& epilogue) {
  const ConvProblem problem = backward_input_problem(shape);
  const Scratch<float> transposed(shape.filter_count());
  transpose_filter(transposed.data(), w, problem, problem.depth);
  run(problem, dx, dy, transposed.data(), epilogue);
}

void conv2d_backward_weight(float* dw, const float* x, const float* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<float>& bias) {
  const ConvProblem problem = forward_problem(shape);
  const bool vectors = problem.depth % 4 == 0 && problem.filters % 4 == 0;
  const bool small = problem.filters <= SmallWeightTile::kRows;
  const auto chosen =
      small ? (vectors ? run_weight<SmallWeightTile, 4> : run_weight<SmallWeightTile, 1>)
            : (vectors ? run_weight<WeightTile, 4> : run_weight<WeightTile, 1>);
  chosen(problem, shape, dw, x, dy, accumulate, bias);
}

}  // namespace attune::kernels::cuda::simt
