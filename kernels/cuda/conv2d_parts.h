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

}  // namespace attune::kernels::cuda
