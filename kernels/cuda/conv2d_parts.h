#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/conv2d_gather.h"
#include "attune/kernels/memory.h"

// What the convolutions share besides their main loops: operands are brought into the form that the
// loops want, and what blocks have computed in parts is put together, always in the same order.
namespace attune::kernels::cuda {

/// The passes of `shape` as matrix products. Throws Error if it has more pixels or a larger filter
/// than an int can count.
ConvProblem forward_problem(const Conv2dShape& shape);
ConvProblem backward_input_problem(const Conv2dShape& shape);

/// Workspace on the current GPU.
template <typename T>
class Scratch : public Workspace<T> {
 public:
  explicit Scratch(std::int64_t count) : Workspace<T>(count, Device::cuda(current_device())) {}
};

/// A tensor [rows, channels] with zeros for the channels that it lacks to a multiple of four, so
/// that every four have an address that asynchronous copies can take. A copy only if it lacks any.
class InFours {
 public:
  InFours(const float* data, std::int64_t rows, int channels);

  const float* data() const { return copy_.data() ? copy_.data() : data_; }
  int channels() const { return channels_; }

 private:
  const float* data_;
  int channels_;
  Scratch<float> copy_;
};

/// The filter of a backward-input pass, by target channel: out [C, R, S, depth] =
/// w [K, R, S, C/groups], transposed within each group; zeros where depth is more than K/groups.
void transpose_filter(float* out, const float* w, const ConvProblem& problem, int filters);

/// What blocks leave of a sum of arrays: `count` of them, of `size` elements each. They are made of
/// pieces of `padded_piece` elements, the channels of one tap, of which the first `piece` count.
struct Parts {
  const float* data;
  int count;
  std::int64_t size;
  int piece, padded_piece;
};

/// sum [size] = the sum of the parts, plus what it holds if `accumulate`.
void add_parts(float* sum, std::int64_t size, const Parts& parts, bool accumulate);

/// Mean and sum of squared deviations of some pixels of a channel.
struct Moments {
  float mean, m2;
};

/// Mean and biased variance of each of `channels`, from those of parts [count, channels] of
/// `part_rows` rows each, the last ones less, `rows` in all.
void merge_moments(const Conv2dStatistics<float>& statistics, const Moments* parts, int count,
                   int channels, int rows, int part_rows);

/// Into how many parts to split the sum over `pixels` of a filter's gradient, of which `tiles`
/// blocks compute one part of `part_size` elements. Depends on nothing else, so that sums never
/// vary.
int weight_splits(int pixels, std::int64_t tiles, std::int64_t part_size);

/// Launches `kernel` for every tile of y = epilogue(conv(x, w)), or the same with dx and dy. The
/// moments that it leaves, of kMomentRows rows each, become the batch's statistics.
template <typename Tile, int kMomentRows, typename Kernel>
void launch_product(Kernel kernel, const ConvProblem& problem, float* y, const float* x,
                    const float* w, const Conv2dEpilogue<float>& epilogue) {
  const int tiles = ceil_div(problem.pixels(), Tile::kRows);
  const int parts = tiles * (Tile::kRows / kMomentRows);
  const int channels = problem.filters * problem.groups;
  const Conv2dStatistics<float>& statistics = epilogue.statistics;
  const Scratch<Moments> moments(statistics ? static_cast<std::int64_t>(parts) * channels : 0);
  const dim3 grid(tiles, ceil_div(problem.filters, Tile::kColumns),
                  problem.classes() * problem.groups);
  launch(kernel, grid, dim3(Tile::kThreads), sizeof(typename Tile::Shared), stream(), problem, y, x,
         w, epilogue, moments.data());
  if (statistics) {
    merge_moments(statistics, moments.data(), parts, channels, problem.pixels(), kMomentRows);
  }
}

/// Launches `kernel` for every tile of every part of the gradient of the filter, and of the bias,
/// and adds up the parts. The problem may have more channels than the shape, of zeros.
template <typename Tile, typename Kernel>
void launch_weight_product(Kernel kernel, const ConvProblem& problem, const Conv2dShape& shape,
                           float* dw, const float* x, const float* dy, bool accumulate,
                           const Conv2dBiasGradient<float>& bias) {
  const int filters = problem.filters * problem.groups, columns = problem.taps() * problem.depth;
  const int row_tiles = ceil_div(problem.filters, Tile::kRows);
  const int column_tiles = ceil_div(columns, Tile::kColumns);
  const std::int64_t size = static_cast<std::int64_t>(filters) * columns;
  const int splits =
      weight_splits(problem.outputs(), row_tiles * column_tiles * problem.groups, size);
  const int slices_a_part = ceil_div(ceil_div(problem.outputs(), Tile::kDepth), splits);
  const Scratch<float> dw_parts(splits * size), db_parts(bias.db ? splits * filters : 0);
  launch(kernel, dim3(row_tiles, column_tiles, splits * problem.groups), dim3(Tile::kThreads),
         sizeof(typename Tile::Shared), stream(), problem, dw_parts.data(), db_parts.data(), x, dy,
         slices_a_part * Tile::kDepth);
  const int channels = static_cast<int>(shape.channels_per_group());
  add_parts(dw, shape.filter_count(), {dw_parts.data(), splits, size, channels, problem.depth},
            accumulate);
  if (bias.db) {
    add_parts(bias.db, shape.k, {db_parts.data(), splits, filters, 1, 1}, bias.accumulate);
  }
}

}  // namespace attune::kernels::cuda
