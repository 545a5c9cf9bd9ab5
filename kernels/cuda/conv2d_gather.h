#pragma once

#include <algorithm>
#include <cstddef>

#include "attune/kernels/conv2d_shape.h"
#include "attune/kernels/cuda/gpu.h"

// A convolution is a matrix product whose left factor is never written down. Each row of the
// product is a pixel of the target (y, or dx in backward-input), each column one of its channels,
// and the sum goes over the filter's taps and, at each tap, over the channels of the source (x, or
// dy):
//
//     target[pixel][n] = sum over taps, c of
//                        source[what `pixel` reads through the tap][c] * w[n][tap][c]
//
// This file knows where the factors are in memory; what is done with them is up to the kernels.
//
// In backward-input with a stride, pixels whose row and column leave the same remainders modulo the
// stride are reached by the same taps. Each such class is a product of its own: no tap is
// multiplied by the zeros between strides. blockIdx.z counts classes times groups.
namespace attune::kernels::cuda {

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

/// The horizontal or the vertical half of a Conv2dShape.
struct ConvAxis {
  int inputs, outputs, taps, stride, pad, dilation;
};

/// A Conv2dShape as the kernels see it. Channels are those of one group.
struct ConvProblem {
  bool backward_input;
  int images, groups;
  ConvAxis vertical, horizontal;
  int depth;    ///< channels of the source
  int filters;  ///< channels of the target

  __host__ __device__ int taps() const { return vertical.taps * horizontal.taps; }
  __host__ __device__ int outputs() const { return images * vertical.outputs * horizontal.outputs; }
  /// How many products there are to compute, and the pixels of the largest.
  int classes() const { return backward_input ? vertical.stride * horizontal.stride : 1; }
  int pixels() const {
    if (!backward_input) return outputs();
    return images * ceil_div(vertical.inputs, vertical.stride) *
           ceil_div(horizontal.inputs, horizontal.stride);
  }
};

/// The pixels of one class along an axis, and what they read: target target_first + i * target_step
/// reads source source_first + i * source_step + j * source_per_tap through its j-th tap, which is
/// the filter's tap_first + j * tap_step.
struct ConvClass {
  int targets, target_first, target_step, target_extent;
  int source_first, source_step, source_per_tap, source_extent;
  int taps, tap_first, tap_step;
};

inline __device__ ConvClass forward_class(const ConvAxis& a) {
  return {a.outputs, 0, 1, a.outputs, -a.pad, a.stride, a.dilation, a.inputs, a.taps, 0, 1};
}

/// Input `remainder` + i * stride is read by output (input + pad - tap * dilation) / stride,
/// through the taps for which that is a whole number: a first one, and every tap_step-th from
/// there.
inline __device__ ConvClass backward_class(const ConvAxis& a, int remainder) {
  const auto next_tap = [&](int tap) {
    while (tap < a.taps && (remainder + a.pad - tap * a.dilation) % a.stride != 0) ++tap;
    return tap;
  };
  const int first = next_tap(0), step = next_tap(first + 1) - first;
  return {(a.inputs - remainder + a.stride - 1) / a.stride,
          remainder,
          a.stride,
          a.inputs,
          (remainder + a.pad - first * a.dilation) / a.stride,
          1,
          -(step * a.dilation) / a.stride,
          a.outputs,
          first < a.taps ? (a.taps - first + step - 1) / step : 0,
          first,
          step};
}

/// The product that this block has a tile of.
struct ConvProduct {
  int group;
  ConvClass vertical, horizontal;

  /// The block's, by its blockIdx.z.
  __device__ explicit ConvProduct(const ConvProblem& p) : group(blockIdx.z % p.groups) {
    if (!p.backward_input) {
      vertical = forward_class(p.vertical), horizontal = forward_class(p.horizontal);
    } else {
      const int remainders = blockIdx.z / p.groups;
      vertical = backward_class(p.vertical, remainders / p.horizontal.stride);
      horizontal = backward_class(p.horizontal, remainders % p.horizontal.stride);
    }
  }
  __device__ int pixels(const ConvProblem& p) const {
    return p.images * vertical.targets * horizontal.targets;
  }
  /// Terms of each sum.
  __device__ int depth(const ConvProblem& p) const {
    return vertical.taps * horizontal.taps * p.depth;
  }
  /// Where row `m` of the product is, among all pixels of the target.
  __device__ std::ptrdiff_t target(int m) const {
    const int row =
        vertical.target_first + m / horizontal.targets % vertical.targets * vertical.target_step;
    const int column = horizontal.target_first + m % horizontal.targets * horizontal.target_step;
    const std::ptrdiff_t image = m / horizontal.targets / vertical.targets;
    return (image * vertical.target_extent + row) * horizontal.target_extent + column;
  }
};

inline __device__ bool inside(int coordinate, int extent) {
  return static_cast<unsigned>(coordinate) < static_cast<unsigned>(extent);
}

/// One thread's share in gathering tiles of both factors: the same kVector channels of every
/// kRowsPerPass-th row, the next kDepth terms of the sums with each call of next().
template <int kVector, int kDepth, int kThreads, int kPixels, int kFilters>
class ConvGather {
 public:
  __device__ ConvGather(const ConvProblem& problem, const ConvProduct& product, const float* source,
                        const float* w, int first_pixel, int first_filter)
      : vertical_(product.vertical),
        horizontal_(product.horizontal),
        depth_(problem.depth),
        channels_(problem.depth * problem.groups),
        filter_taps_per_row_(problem.horizontal.taps),
        filter_size_(problem.taps() * problem.depth),
        source_(source + product.group * problem.depth),
        chunk_(threadIdx.x % kChunks),
        row_(threadIdx.x / kChunks),
        filters_left_(problem.filters - first_filter) {
    const int pixels = product.pixels(problem);
#pragma unroll
    for (int i = 0; i < kPixelRows; ++i) {
      const int m = first_pixel + row_ + i * kRowsPerPass, pixel = std::min(m, pixels - 1);
      const int image = pixel / horizontal_.targets / vertical_.targets;
      const int row = pixel / horizontal_.targets % vertical_.targets;
      const int top = vertical_.source_first + row * vertical_.source_step;
      left_[i] = horizontal_.source_first + pixel % horizontal_.targets * horizontal_.source_step;
      first_tap_[i] =
          (image * vertical_.source_extent + top) * horizontal_.source_extent + left_[i];
      top_[i] = m < pixels ? top : kOutside;
    }
    filter_ =
        w + (static_cast<std::ptrdiff_t>(product.group) * problem.filters + first_filter + row_) *
                filter_size_;
    advance(chunk_ * kVector);
  }

  /// Calls put_pixel(row, chunk, address, valid) and put_filter(...) for what this thread fetches:
  /// kVector floats, or as many zeros if not `valid`.
  template <typename PutPixel, typename PutFilter>
  __device__ void next(const PutPixel& put_pixel, const PutFilter& put_filter) {
    const bool within = tap_row_ < vertical_.taps;
    const int down = tap_row_ * vertical_.source_per_tap;
    const int right = tap_column_ * horizontal_.source_per_tap;
    const int offset = down * horizontal_.source_extent + right;
#pragma unroll
    for (int i = 0; i < kPixelRows; ++i) {
      const int row = row_ + i * kRowsPerPass;
      const bool valid = within && inside(top_[i] + down, vertical_.source_extent) &&
                         inside(left_[i] + right, horizontal_.source_extent);
      if (!covers<kPixels>(row)) continue;
      const std::ptrdiff_t pixel = first_tap_[i] + offset;
      put_pixel(row, chunk_, valid ? source_ + (pixel * channels_ + channel_) : source_, valid);
    }
    const int tap = (vertical_.tap_first + tap_row_ * vertical_.tap_step) * filter_taps_per_row_ +
                    horizontal_.tap_first + tap_column_ * horizontal_.tap_step;
    const float* from = filter_ + tap * depth_ + channel_;
#pragma unroll
    for (int i = 0; i < kFilterRows; ++i) {
      const int row = row_ + i * kRowsPerPass;
      const bool valid = within && row < filters_left_;
      const std::ptrdiff_t pass = static_cast<std::ptrdiff_t>(i * kRowsPerPass) * filter_size_;
      if (!covers<kFilters>(row)) continue;
      put_filter(row, chunk_, valid ? from + pass : source_, valid);
    }
    advance(kDepth);
  }

 private:
  static constexpr int kChunks = kDepth / kVector;  // of a row
  static constexpr int kRowsPerPass = kThreads / kChunks;
  static constexpr int kPixelRows = ceil_div(kPixels, kRowsPerPass);
  static constexpr int kFilterRows = ceil_div(kFilters, kRowsPerPass);
  static constexpr int kOutside = -(1 << 30);
  static_assert(kThreads % kChunks == 0);

  template <int kRows>
  static __device__ bool covers(int row) {
    return kRows % kRowsPerPass == 0 || row < kRows;
  }
  __device__ void advance(int terms) {
    for (channel_ += terms; channel_ >= depth_; channel_ -= depth_) {
      if (++tap_column_ == horizontal_.taps) tap_column_ = 0, ++tap_row_;
    }
  }

  const ConvClass vertical_, horizontal_;
  const int depth_, channels_, filter_taps_per_row_, filter_size_;
  const float* const source_;
  const int chunk_, row_, filters_left_;
  const float* filter_;                     ///< of the first of this thread's rows
  int first_tap_[kPixelRows];               ///< the source's pixel that the first tap reads,
  int top_[kPixelRows], left_[kPixelRows];  ///< and where that is
  int tap_row_ = 0, tap_column_ = 0, channel_ = 0;
};

/// The same for the gradient of the filter, dw[k][tap, c] = sum over pixels of dy[pixel][k] x[what
/// `pixel` reads through the tap][c]. The sum goes over pixels first_pixel to last_pixel, and this
/// gathers the next kPixels of them for a tile of kFilters rows, kColumns pairs (tap, c).
template <int kVector, int kPixels, int kThreads, int kFilters, int kColumns>
class ConvWeightGather {
 public:
  __device__ ConvWeightGather(const ConvProblem& problem, int group, const float* x,
                              const float* dy, int first_pixel, int last_pixel, int first_filter,
                              int first_column)
      : problem_(problem),
        nothing_(x),
        dy_chunk_(threadIdx.x % kDyChunks),
        dy_row_(threadIdx.x / kDyChunks),
        x_chunk_(threadIdx.x % kXChunks),
        x_row_(threadIdx.x / kXChunks),
        pixel_(first_pixel),
        last_pixel_(last_pixel),
        column_(first_column + x_chunk_ * kVector) {
    const int filter = first_filter + dy_chunk_ * kVector;
    filter_valid_ = filter < problem.filters;
    dy_ = dy + group * problem.filters + filter;
    const int tap = column_ / problem.depth;
    column_valid_ = tap < problem.taps();
    top_ = tap / problem.horizontal.taps * problem.vertical.dilation - problem.vertical.pad;
    left_ = tap % problem.horizontal.taps * problem.horizontal.dilation - problem.horizontal.pad;
    x_ = x + group * problem.depth + column_ % problem.depth;
    const int m = first_pixel + x_row_;
    output_column_ = m % problem.horizontal.outputs;
    output_row_ = m / problem.horizontal.outputs % problem.vertical.outputs;
    image_ = m / problem.horizontal.outputs / problem.vertical.outputs;
  }

  template <typename PutDy, typename PutX>
  __device__ void next(const PutDy& put_dy, const PutX& put_x) {
    const std::ptrdiff_t dy_channels = problem_.filters * problem_.groups;
    const std::ptrdiff_t x_channels = problem_.depth * problem_.groups;
#pragma unroll
    for (int i = 0; i < ceil_div(kPixels, kDyRowsPerPass); ++i) {
      const int row = dy_row_ + i * kDyRowsPerPass, m = pixel_ + row;
      if (row >= kPixels) continue;
      const bool valid = filter_valid_ && m < last_pixel_;
      put_dy(row, dy_chunk_, valid ? dy_ + m * dy_channels : nothing_, valid);
    }
#pragma unroll
    for (int i = 0; i < ceil_div(kPixels, kXRowsPerPass); ++i) {
      const int row = x_row_ + i * kXRowsPerPass;
      if (row >= kPixels) continue;
      const int y = top_ + output_row_ * problem_.vertical.stride;
      const int x = left_ + output_column_ * problem_.horizontal.stride;
      const bool valid = column_valid_ && pixel_ + row < last_pixel_ &&
                         inside(y, problem_.vertical.inputs) &&
                         inside(x, problem_.horizontal.inputs);
      const std::ptrdiff_t image_row =
          static_cast<std::ptrdiff_t>(image_) * problem_.vertical.inputs + y;
      const std::ptrdiff_t pixel = image_row * problem_.horizontal.inputs + x;
      put_x(row, x_chunk_, valid ? x_ + pixel * x_channels : nothing_, valid);
      walk();
    }
    pixel_ += kPixels;
  }

 private:
  static constexpr int kDyChunks = kFilters / kVector, kDyRowsPerPass = kThreads / kDyChunks;
  static constexpr int kXChunks = kColumns / kVector, kXRowsPerPass = kThreads / kXChunks;
  static_assert(kThreads % kDyChunks == 0 && kThreads % kXChunks == 0);

  /// To the next pixel whose input this thread fetches; without a division.
  __device__ void walk() {
    constexpr int kStep = kXRowsPerPass < kPixels ? kXRowsPerPass : kPixels;
    static_assert(kPixels % kStep == 0);
    output_column_ += kStep;
    while (output_column_ >= problem_.horizontal.outputs) {
      output_column_ -= problem_.horizontal.outputs;
      if (++output_row_ == problem_.vertical.outputs) output_row_ = 0, ++image_;
    }
  }

  const ConvProblem& problem_;
  const float* const nothing_;
  const int dy_chunk_, dy_row_, x_chunk_, x_row_;
  int pixel_, last_pixel_;
  int column_, output_row_, output_column_, image_;
  int top_, left_;
  bool filter_valid_, column_valid_;
  const float *dy_, *x_;
};

}  // namespace attune::kernels::cuda
