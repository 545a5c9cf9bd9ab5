#include <algorithm>

#include "attune/kernels/cuda/conv2d_epilogue.h"
#include "attune/kernels/cuda/conv2d_gather.h"
#include "attune/kernels/cuda/conv2d_mma.h"
#include "attune/kernels/cuda/conv2d_parts.h"
#include "attune/kernels/cuda/conv2d_warp_tiles.h"

// The third step of the ladder (docs/cuda_ladder.md): forward and backward-input on the tensor
// cores. They multiply so fast that feeding them is all that matters: copies from global to shared
// memory run kStages - 1 slices ahead, 16 bytes at a time and past the registers (cp.async);
// ldmatrix brings slices from shared memory to the lanes that want them; and rows are stored in a
// swizzled order in which neither copies nor ldmatrix ask one bank for two things at once.
//
// Executed under emulation, not yet on a GPU.
namespace attune::kernels::cuda::mma {
namespace {

// ---- kernels ----------------------------------------------------------------------------------

/// Rows are pixels, columns filters. A row of a slice is 32 floats, one in each bank.
template <int... kSizes>
struct Tile : WarpTiles<kSizes...> {
  using Tiles = WarpTiles<kSizes...>;
  struct Shared {
    float a[Tiles::kStages][Tiles::kRows][Tiles::kDepth];
    float b[Tiles::kStages][Tiles::kColumns][Tiles::kDepth];
  };
  static_assert(sizeof(Shared) <= 99 << 10, "all that a block may have on sm_86 and sm_89");
};

/// Where in its row the chunk of 16 bytes is. Eight neighbouring rows have it in different banks.
__device__ int swizzled(int row, int chunk) { return (chunk ^ row % 8) * 4; }

/// The sum over the eight lanes that hold the same columns of a fragment, for each of them.
__device__ float2 sum_over_rows(float2 v) {
#pragma unroll
  for (int distance = 4; distance < 32; distance *= 2) {
    v = v + make_float2(__shfl_xor_sync(~0U, v.x, distance), __shfl_xor_sync(~0U, v.y, distance));
  }
  return v;
}

/// y = epilogue(conv(x, w)), or the same with dx and dy; and unless `moments` is null, those of
/// each warp's columns: moments [warp rows of all blocks, channels].
template <typename Tile, typename Math>
__global__ void __launch_bounds__(Tile::kThreads)
    conv2d_kernel(const ConvProblem problem, float* y, const float* x, const float* w,
                  const Conv2dEpilogue<float> epilogue, Moments* moments) {
  auto& shared = shared_memory<typename Tile::Shared>();
  const ConvProduct product(problem);
  const int pixels = product.pixels(problem);
  const int first_pixel = blockIdx.x * Tile::kRows, first_filter = blockIdx.y * Tile::kColumns;
  if (first_pixel >= pixels) return;  // this class has fewer of them than others

  ConvGather<4, Tile::kDepth, Tile::kThreads, Tile::kRows, Tile::kColumns> gather(
      problem, product, x, w, first_pixel, first_filter);
  const auto load = [&](int stage) {
    const auto copy_to = [](auto& tile) {
      return [&tile](int row, int chunk, const float* from, bool valid) {
        cp_async_16(&tile[row][swizzled(row, chunk)], from, valid);
      };
    };
    gather.next(copy_to(shared.a[stage]), copy_to(shared.b[stage]));
  };

  const int lane = Tile::lane(), warp_row = Tile::warp_row(), warp_column = Tile::warp_column();
  const auto fetch_a = [&](int i, int stage, int term) {
    const int row = warp_row + i * 16 + lane % 16, chunk = term / 4 + lane / 16;
    FragmentA a;
    ldmatrix_x4(a.v[0], &shared.a[stage][row][swizzled(row, chunk)]);
    ldmatrix_x4(a.v[1], &shared.a[stage][row][swizzled(row, chunk + 2)]);
    return a;
  };
  const auto fetch_b = [&](int j, int stage, int term) {
    const int row = warp_column + j * 8 + lane % 8;
    unsigned v[4];
    ldmatrix_x4(v, &shared.b[stage][row][swizzled(row, term / 4 + lane / 8)]);
    return FragmentB{{{v[0], v[1]}, {v[2], v[3]}}};
  };
  typename Tile::Sums sums = {};
  Tile::template multiply<Math>(
      sums, ceil_div(product.depth(problem), Tile::kDepth), load, [](int) {}, fetch_a, fetch_b);

  const int first_row = first_pixel + warp_row;
  const int first_column = first_filter + warp_column + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < Tile::kDown * 2; ++i) {  // a fragment holds 2 x 2 of this lane's sums
    const int m = first_row + i * 8 + lane / 4;
    const std::ptrdiff_t target = product.target(std::min(m, pixels - 1)) * problem.filters;
#pragma unroll
    for (int j = 0; j < Tile::kAcross; ++j) {
      const int n = first_column + j * 8;
      float* pair_of_sums = &sums[i / 2][j][i % 2 * 2];
      float2 v = make_float2(pair_of_sums[0], pair_of_sums[1]);
      if (m < pixels && n < problem.filters) {
        const ChannelPair pair(n, problem.filters, problem.filters);
        v = apply_epilogue(epilogue, v, target + n, n, pair);
        pair.store(y + target + n, v);
      }
      pair_of_sums[0] = v.x, pair_of_sums[1] = v.y;
    }
  }
  if (!moments) return;
  // Of what was stored, a column at a time: first the mean, then how far the values are from it.
  const int rows = std::min(+Tile::kWarpRows, pixels - first_row);
  moments += (blockIdx.x * Tile::kWarpsDown + Tile::warp_down()) *
             static_cast<std::ptrdiff_t>(problem.filters);
#pragma unroll
  for (int j = 0; j < Tile::kAcross; ++j) {
    const auto sum_of_column = [&](const auto& term) {
      float2 sum = make_float2(0, 0);
#pragma unroll
      for (int i = 0; i < Tile::kDown * 2; ++i) {
        const float* v = &sums[i / 2][j][i % 2 * 2];
        if (i * 8 + lane / 4 < rows) sum = sum + term(make_float2(v[0], v[1]));
      }
      return sum_over_rows(sum);
    };
    const float2 share = make_float2(1.0F / rows, 1.0F / rows);
    const float2 mean = sum_of_column([](float2 v) { return v; }) * share;
    const float2 m2 = sum_of_column([&](float2 v) { return (v - mean) * (v - mean); });
    const int n = first_column + j * 8;
    if (rows <= 0 || lane >= 4) continue;
    if (n < problem.filters) moments[n] = {mean.x, m2.x};
    if (n + 1 < problem.filters) moments[n + 1] = {mean.y, m2.y};
  }
}

// ---- launchers --------------------------------------------------------------------------------

template <typename Tile, typename Math>
void run(const ConvProblem& problem, float* y, const float* x, const float* w,
         const Conv2dEpilogue<float>& epilogue) {
  launch_product<Tile, Tile::kWarpRows>(conv2d_kernel<Tile, Math>, problem, y, x, w, epilogue);
}

/// The tile, by the shape alone: no wider than the filters fill it, and as large as leaves enough
/// blocks, some two for each multiprocessor of a large GPU.
template <typename Math>
auto choose_tile(const ConvProblem& problem) {
  constexpr std::int64_t kEnoughBlocks = 256;
  const auto blocks = [&](int rows, int columns) {
    return static_cast<std::int64_t>(ceil_div(problem.pixels(), rows)) *
           ceil_div(problem.filters, columns) * problem.classes();
  };
  if (problem.filters <= 16) return run<Tile<128, 16, 4, 1, 4>, Math>;
  if (problem.filters <= 32) return run<Tile<128, 32, 4, 1, 4>, Math>;
  if (problem.filters > 64 && blocks(128, 128) >= kEnoughBlocks) {
    return run<Tile<128, 128, 2, 4, 3>, Math>;
  }
  if (blocks(128, 64) >= kEnoughBlocks) return run<Tile<128, 64, 4, 2, 4>, Math>;
  return run<Tile<64, 64, 2, 2, 4>, Math>;
}

void run(CudaPrecision precision, const ConvProblem& problem, float* y, const float* x,
         const float* w, const Conv2dEpilogue<float>& epilogue) {
  const auto chosen =
      precision == CudaPrecision::bf16 ? choose_tile<Bf16>(problem) : choose_tile<Tf32>(problem);
  chosen(problem, y, x, w, epilogue);
}

}  // namespace

void conv2d_forward(CudaPrecision precision, float* y, const float* x, const float* w,
                    const Conv2dShape& shape, const Conv2dEpilogue<float>& epilogue) {
  ConvProblem problem = forward_problem(shape);
  const InFours x4(x, shape.n * shape.h * shape.w, problem.depth);
  const InFours w4(w, shape.k * shape.r * shape.s, problem.depth);
  problem.depth = x4.channels();
  run(precision, problem, y, x4.data(), w4.data(), epilogue);
}

void conv2d_backward_input(CudaPrecision precision, float* dx, const float* dy, const float* w,
                           const Conv2dShape& shape, const Conv2dEpilogue<float>& epilogue) {
  ConvProblem problem = backward_input_problem(shape);
  const InFours dy4(dy, shape.output_pixels(), problem.depth);
  problem.depth = dy4.channels();
  const Scratch<float> transposed(shape.c * shape.r * shape.s * problem.depth);
  transpose_filter(transposed.data(), w, problem, static_cast<int>(shape.k));
  run(precision, problem, dx, dy4.data(), transposed.data(), epilogue);
}

}  // namespace attune::kernels::cuda::mma
