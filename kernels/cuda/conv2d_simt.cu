#include <algorithm>

#include "attune/kernels/cuda/batch_norm.h"
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
  static constexpr int kThreads = kRows / kThreadRows * (kColumns / kThreadColumns);

  /// Transposed, so that a thread's rows and columns are neighbours; the extra columns spread the
  /// transposing stores over the banks.
  struct Shared {
    alignas(16) float a[kDepth][kRows + 4];
    alignas(16) float b[kDepth][kColumns + 4];
  };
  using Sums = float[kThreadRows][kThreadColumns];

  static __device__ int first_row() {
    return threadIdx.x / (kColumns / kThreadColumns) * kThreadRows;
  }
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
};

/// Neighbouring floats that are loaded as one.
template <int kCount>
struct alignas(kCount * sizeof(float)) Vector {
  float v[kCount];

  static __device__ Vector load(const float* from, bool valid) {
    return valid ? *reinterpret_cast<const Vector*>(from) : Vector{};
  }
};

/// y = epilogue(conv(x, w)), or the same with dx and dy.
template <typename Tile, int kVector>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    conv2d_kernel(const ConvProblem problem, float* y, const float* x, const float* w,
                  const Conv2dEpilogue<float> epilogue) {
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
      const float2 v = make_float2(sums[i][j], sums[i][j + 1]);
      pair.store(y + target + channel,
                 apply_epilogue(epilogue, v, target + channel, channel, pair));
    }
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
  const dim3 grid(ceil_div(problem.pixels(), Tile::kRows),
                  ceil_div(problem.filters, Tile::kColumns), problem.classes() * problem.groups);
  launch(conv2d_kernel<Tile, kVector>, grid, dim3(Tile::kThreads), sizeof(typename Tile::Shared),
         stream(), problem, y, x, w, epilogue);
}

void run(const ConvProblem& problem, float* y, const float* x, const float* w,
         const Conv2dEpilogue<float>& epilogue) {
  const bool wide = problem.filters > NarrowTile::kColumns, vectors = problem.depth % 4 == 0;
  const auto chosen = wide ? (vectors ? run<WideTile, 4> : run<WideTile, 1>)
                           : (vectors ? run<NarrowTile, 4> : run<NarrowTile, 1>);
  chosen(problem, y, x, w, epilogue);
}

template <typename Tile, int kVector>
void run_weight(const ConvProblem& problem, float* dw, const float* x, const float* dy,
                bool accumulate, const Conv2dBiasGradient<float>& bias) {
  const int pixels = problem.outputs();
  const int columns = problem.taps() * problem.depth, filters = problem.filters * problem.groups;
  const int row_tiles = ceil_div(problem.filters, Tile::kRows);
  const int column_tiles = ceil_div(columns, Tile::kColumns);
  const std::int64_t size = static_cast<std::int64_t>(filters) * columns;
  const int splits = weight_splits(pixels, row_tiles * column_tiles * problem.groups, size);
  const Scratch<float> dw_parts(splits * size), db_parts(bias.db ? splits * filters : 0);
  launch(conv2d_weight_kernel<Tile, kVector>,
         dim3(row_tiles, column_tiles, splits * problem.groups), dim3(Tile::kThreads),
         sizeof(typename Tile::Shared), stream(), problem, dw_parts.data(), db_parts.data(), x, dy,
         ceil_div(pixels, splits));
  add_parts(dw, size, {dw_parts.data(), splits, size, 1, 1}, accumulate);
  if (bias.db)
    add_parts(bias.db, filters, {db_parts.data(), splits, filters, 1, 1}, bias.accumulate);
}

}  // namespace

void conv2d_forward(float* y, const float* x, const float* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<float>& epilogue) {
  run(forward_problem(shape), y, x, w, epilogue);
  if (epilogue.statistics) {
    batch_norm_statistics(epilogue.statistics.mean, epilogue.statistics.var, y,
                          shape.output_pixels(), shape.k);
  }
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
  chosen(problem, dw, x, dy, accumulate, bias);
}

}  // namespace attune::kernels::cuda::simt
