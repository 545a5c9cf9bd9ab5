#include <algorithm>

#include "attune/kernels/cuda/conv2d_gather.h"
#include "attune/kernels/cuda/conv2d_mma.h"
#include "attune/kernels/cuda/conv2d_parts.h"
#include "attune/kernels/cuda/conv2d_warp_tiles.h"

// The gradient of the filter on the tensor cores. The ring of asynchronous copies is that of
// conv2d_mma.cu, but the sum goes over pixels, and those are rows in memory, not columns: fragments
// are read a float at a time, from rows that are padded so that no two lanes meet in a bank. dw is
// small and the sum is long, so it is split over blocks; what each has is added up in order.
//
// Executed under emulation, not yet on a GPU.
namespace attune::kernels::cuda::mma {
namespace {

// ---- kernels ----------------------------------------------------------------------------------

/// Rows are filters, columns pairs (tap, channel), and the terms are pixels. Rows of a slice are 8
/// banks apart, because lanes read 8 neighbours from each of 4 rows.
template <int... kSizes>
struct WeightTile : WarpTiles<kSizes...> {
  using Tiles = WarpTiles<kSizes...>;
  struct Shared {
    float dy[Tiles::kStages][Tiles::kDepth][Tiles::kRows + 8];
    float x[Tiles::kStages][Tiles::kDepth][Tiles::kColumns + 8];
  };
  static_assert(Tiles::kRows % 32 == 0 && Tiles::kColumns % 32 == 0);
  static_assert(Tiles::kRows <= Tiles::kThreads, "there is a thread for each element of db");
  static_assert(sizeof(Shared) <= 99 << 10, "all that a block may have on sm_86 and sm_89");
};

/// One part of dw, and one of db unless that is null: of the pixels that are this block's by
/// blockIdx.z.
template <typename Tile, typename Math>
__global__ void __launch_bounds__(Tile::kThreads)
    conv2d_weight_kernel(const ConvProblem problem, float* dw_parts, float* db_parts,
                         const float* x, const float* dy, int pixels_a_part) {
  auto& shared = shared_memory<typename Tile::Shared>();
  const int part = blockIdx.z, first_pixel = part * pixels_a_part;
  const int last_pixel = std::min(first_pixel + pixels_a_part, problem.outputs());
  const int first_filter = blockIdx.x * Tile::kRows, first_column = blockIdx.y * Tile::kColumns;

  ConvWeightGather<4, Tile::kDepth, Tile::kThreads, Tile::kRows, Tile::kColumns> gather(
      problem, 0, x, dy, first_pixel, last_pixel, first_filter, first_column);
  const auto load = [&](int stage) {
    const auto copy_to = [](auto& tile) {
      return [&tile](int row, int chunk, const float* from, bool valid) {
        cp_async_16(&tile[row][chunk * 4], from, valid);
      };
    };
    gather.next(copy_to(shared.dy[stage]), copy_to(shared.x[stage]));
  };

  const bool sums_dy = db_parts && blockIdx.y == 0 && threadIdx.x < Tile::kRows;
  float db = 0;
  const auto add_dy = [&](int stage) {
    if (!sums_dy) return;
    float sum = 0;
    for (const auto& row : shared.dy[stage]) sum += row[threadIdx.x];
    db += sum;
  };
  const int lane = Tile::lane(), warp_row = Tile::warp_row(), warp_column = Tile::warp_column();
  const auto fetch_a = [&](int i, int stage, int term) {
    FragmentA a;
#pragma unroll
    for (int v = 0; v < 8; ++v) {
      const int row = warp_row + i * 16 + lane / 4 + v % 2 * 8;
      a.v[v / 4][v % 4] = __float_as_uint(shared.dy[stage][term + lane % 4 + v / 2 * 4][row]);
    }
    return a;
  };
  const auto fetch_b = [&](int j, int stage, int term) {
    FragmentB b;
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const int column = warp_column + j * 8 + lane / 4;
      b.v[v / 2][v % 2] = __float_as_uint(shared.x[stage][term + lane % 4 + v * 4][column]);
    }
    return b;
  };
  typename Tile::Sums sums = {};
  Tile::template multiply<Math>(sums, ceil_div(last_pixel - first_pixel, Tile::kDepth), load,
                                add_dy, fetch_a, fetch_b);

  const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(part) * problem.filters;
  if (sums_dy && first_filter + static_cast<int>(threadIdx.x) < problem.filters) {
    db_parts[first + first_filter + threadIdx.x] = db;
  }
  const int columns = problem.taps() * problem.depth;
#pragma unroll
  for (int i = 0; i < Tile::kDown * 2; ++i) {
    const int k = first_filter + warp_row + i * 8 + lane / 4;
#pragma unroll
    for (int j = 0; j < Tile::kAcross; ++j) {
      const int n = first_column + warp_column + j * 8 + lane % 4 * 2;  // even, like `columns`
      const float* v = &sums[i / 2][j][i % 2 * 2];
      if (k >= problem.filters || n >= columns) continue;
      *reinterpret_cast<float2*>(dw_parts + (first + k) * columns + n) = make_float2(v[0], v[1]);
    }
  }
}

// ---- launchers --------------------------------------------------------------------------------

template <typename Tile, typename Math>
void run(const ConvProblem& problem, const Conv2dShape& shape, float* dw, const float* x,
         const float* dy, bool accumulate, const Conv2dBiasGradient<float>& bias) {
  launch_weight_product<Tile>(conv2d_weight_kernel<Tile, Math>, problem, shape, dw, x, dy,
                              accumulate, bias);
}

/// The tile, by the shape alone.
template <typename Math>
auto choose_tile(const ConvProblem& problem) {
  if (problem.filters <= 32) return run<WeightTile<32, 128, 1, 4, 4>, Math>;
  if (problem.filters > 64) return run<WeightTile<128, 64, 4, 2, 3>, Math>;
  return run<WeightTile<64, 64, 2, 2, 4>, Math>;
}

}  // namespace

void conv2d_backward_weight(CudaPrecision precision, float* dw, const float* x, const float* dy,
                            const Conv2dShape& shape, bool accumulate,
                            const Conv2dBiasGradient<float>& bias) {
  ConvProblem problem = forward_problem(shape);
  const InFours x4(x, shape.n * shape.h * shape.w, problem.depth);
  const InFours dy4(dy, shape.output_pixels(), problem.filters);
  problem.depth = x4.channels(), problem.filters = dy4.channels();
  const auto chosen =
      precision == CudaPrecision::bf16 ? choose_tile<Bf16>(problem) : choose_tile<Tf32>(problem);
  chosen(problem, shape, dw, x4.data(), dy4.data(), accumulate, bias);
}

}  // namespace attune::kernels::cuda::mma
