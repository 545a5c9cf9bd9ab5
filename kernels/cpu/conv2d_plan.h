#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attune/kernels/conv2d_shape.h"
#include "attune/kernels/memory.h"

// The geometry of a direct convolution, worked out before any arithmetic. Forward and
// backward-input are one and the same operation, a correlation of a source image with taps, at a
// lattice of pixels: forward has one lattice, all output pixels; backward-input has one for each
// remainder of (row, column) modulo the stride, because input pixels with different remainders are
// reached by different taps. backward-weight walks along the forward plan.
//
// Sources are packed (but for depthwise convolutions), a band of rows at a time, so that the
// innermost loops see nothing of padding, stride or the number of channels:
//
//     [block of channels][row][column][channel in block]
//
// Padding becomes zeros. What has no padding and no neighbours, a 1x1 filter, may as well be read
// where it is: then the "packed" source is the source itself, all channels being one block.
namespace attune::kernels::cpu {

/// Channels in a block: a cache line of floats.
inline constexpr int kBlock = 16;

/// What the slices of a filter's gradient may take in all, besides the first.
inline constexpr std::int64_t kMaxPartialBytes = 32 << 20;

/// Into how many parts, by blocks of output channels, to cut a slice of a filter's gradient: where
/// slices are few, so that there is work for several threads, but no more, since each part has to
/// prepare all of its slice's inputs.
inline std::int64_t parts_of_slice(std::int64_t slices, std::int64_t blocks) {
  constexpr std::int64_t kFewSlices = 4, kTasks = 8;
  return slices >= kFewSlices ? 1 : std::min(kTasks / slices, blocks);
}

/// `length` neighbouring elements of a packed source, from `offset` on, as seen from the output
/// pixel: the inputs of one tap, or of several if they lie side by side.
struct Run {
  std::int64_t offset = 0, length = 0;
};

/// Runs that are done in one go, so that their part of the filter stays in the L1 cache.
struct RunChunk {
  std::int64_t first_run = 0, run_count = 0;
  std::int64_t first_step = 0;  ///< sum of the lengths before
};

/// Output pixels (row + i * row_step, column + j * column_step) and the taps that reach them.
struct Lattice {
  std::int64_t row = 0, column = 0;
  std::int64_t rows = 0, columns = 0;
  std::vector<std::int64_t> taps{};     ///< r * S + s of each
  std::vector<std::int64_t> offsets{};  ///< of each tap's input in the first block of channels
  std::vector<Run> runs{};              ///< for each block of channels, for each tap; then merged
  std::vector<RunChunk> chunks{};       ///< at least one, perhaps empty
  std::int64_t steps = 0;               ///< taps * channels: rows of the lattice's packed filter
  std::int64_t first_step = 0;          ///< steps of the lattices before
};

struct Conv2dPlan {
  // The source, of one group.
  std::int64_t images = 0, height = 0, width = 0, channels = 0;
  std::int64_t pixel_stride = 0;  ///< channels of all groups

  // Its packed form.
  bool packs = true;                          ///< or it is the source itself
  std::int64_t block = 0, blocks = 0;         ///< channels in a block, and how many blocks
  std::int64_t columns = 0, column_size = 0;  ///< columns in a row, elements between neighbours
  std::int64_t top = 0, left = 0;    ///< source row of a lattice's row 0, column of column 0
  std::int64_t packed_row_step = 1;  ///< source rows between neighbouring packed rows
  std::int64_t packed_column_step = 1;
  std::int64_t lattice_row_step = 1;  ///< packed rows between neighbouring rows of a lattice
  std::int64_t lattice_column_step = 1;
  std::int64_t halo_rows = 0;  ///< packed rows of a band of one row, less one

  // The output.
  std::int64_t out_height = 0, out_width = 0, out_channels = 0, out_pixel_stride = 0;
  std::int64_t out_row_step = 1, out_column_step = 1;
  std::vector<Lattice> lattices;
  std::int64_t steps = 0;            ///< of all lattices
  std::int64_t missing_columns = 0;  ///< what the very last row lacks, if the batch is flattened

  // Bands: rows [i * band_rows, (i + 1) * band_rows) of every lattice.
  std::int64_t band_rows = 0, bands = 0;

  std::int64_t row_size() const { return columns * column_size; }
  /// Elements between what neighbouring rows and columns of a lattice read.
  std::int64_t lattice_row_size() const { return lattice_row_step * row_size(); }
  std::int64_t lattice_column_size() const { return lattice_column_step * column_size; }
  std::int64_t packed_rows(std::int64_t rows) const {
    return (rows - 1) * lattice_row_step + halo_rows + 1;
  }
  /// An odd number of blocks of 16: were it a multiple of 4 KB, all channels of a pixel would fall
  /// into the same few sets of the L1 cache.
  std::int64_t block_size() const { return (packed_rows(band_rows) * row_size()) | kBlock; }
  std::int64_t band_size() const { return packs ? blocks * block_size() : 0; }
};

/// A tap of one dimension that reaches an output, and how far its source coordinate is from that
/// output's place in the lattice.
struct ReachingTap {
  std::int64_t tap = 0, distance = 0;
};

/// One dimension of a depthwise convolution, which has no channels to sum over and reads its source
/// where it is: outputs first, first + step, ..., of which the i-th reads the source coordinates
/// i * source_step + distance, as far as they exist. (Of rows, only the taps and the step matter.)
struct TapAxis {
  std::int64_t first = 0, step = 1, count = 0, source_step = 1;
  std::vector<ReachingTap> taps{};               ///< by distance
  std::int64_t inner_first = 0, inner_last = 0;  ///< outputs between them have all their taps
  bool sees_neighbours = true;  ///< the taps, in order, see neighbouring source coordinates
};

/// The lattices are the pairs of a row axis and a column axis.
struct DepthwisePlan {
  std::int64_t images = 0, channels = 0;
  std::int64_t height = 0, width = 0, out_height = 0, out_width = 0;
  std::int64_t filter_height = 0, filter_width = 0;
  std::vector<TapAxis> rows{}, columns{};

  std::int64_t taps() const { return filter_height * filter_width; }
  /// Elements between the weights of two taps: whole blocks, so that vectors may be read whole.
  std::int64_t weight_stride() const { return (channels + kBlock - 1) / kBlock * kBlock; }
};

/// What a plan is made for: elements of `element_size` bytes. The source of 1x1 filters is read
/// where it is if what neighbouring outputs read is at most `max_pixel_bytes` apart.
struct PlanOptions {
  std::int64_t element_size = 0, max_pixel_bytes = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): version 14 takes the 0 of a comparison for a pointer
  auto operator<=>(const PlanOptions&) const = default;
};

/// Plans, made once for each geometry and kept: a network asks for the same ones in every step.
/// Thread-safe.
const Conv2dPlan& conv2d_forward_plan(const Conv2dShape& shape, const PlanOptions& options);
const Conv2dPlan& conv2d_backward_input_plan(const Conv2dShape& shape, const PlanOptions& options);
const DepthwisePlan& depthwise_forward_plan(const Conv2dShape& shape);
const DepthwisePlan& depthwise_backward_input_plan(const Conv2dShape& shape);

}  // namespace attune::kernels::cpu

extern template class attune::kernels::Workspace<attune::kernels::cpu::Run>;
