#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace attune {

/// How a convolution slides: (vertical, horizontal) pairs, zero padding on both sides.
struct Conv2dOptions {
  std::array<std::int64_t, 2> stride{1, 1};
  std::array<std::int64_t, 2> padding{0, 0};
  std::array<std::int64_t, 2> dilation{1, 1};
  std::int64_t groups = 1;
};

/// The complete geometry of a 2-D convolution, the one type all convolution kernels take. Letters
/// are the field's: x is [N, H, W, C], w is [K, R, S, C / groups], y is [N, P, Q, K].
///
/// Built and validated by make_conv2d_shape(); kernels trust it.
struct Conv2dShape {
  std::int64_t n = 0;                       ///< images in the batch
  std::int64_t h = 0, w = 0, c = 0;         ///< input height, width, channels
  std::int64_t k = 0, r = 0, s = 0;         ///< filters, filter height and width
  std::int64_t p = 0, q = 0;                ///< output height and width
  std::int64_t stride_h = 1, stride_w = 1;  ///< pixels between neighbouring outputs
  std::int64_t pad_h = 0, pad_w = 0;        ///< zeros above and below, left and right
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;  ///< C and K are split into this many independent convolutions

  constexpr std::int64_t channels_per_group() const { return c / groups; }
  constexpr std::int64_t filters_per_group() const { return k / groups; }
  constexpr std::int64_t input_count() const { return n * h * w * c; }
  constexpr std::int64_t filter_count() const { return k * r * s * channels_per_group(); }
  constexpr std::int64_t output_pixels() const { return n * p * q; }
  constexpr std::int64_t output_count() const { return output_pixels() * k; }
  /// Multiply-adds count as two; taps that fall on padding are counted too, as is customary.
  constexpr std::int64_t flops() const { return 2 * output_count() * r * s * channels_per_group(); }

  // NOLINTNEXTLINE(modernize-use-nullptr): version 14 takes the 0 of a comparison for a pointer
  auto operator<=>(const Conv2dShape&) const = default;
};

/// Geometry of y = conv(x, w). `x` is {N, H, W, C}, `w` is {K, R, S, C / groups};
/// P = (H + 2 pad - dilation (R - 1) - 1) / stride + 1, rounded down, and Q likewise.
/// Throws Error, beginning with `op`, on any mismatch or if the output would be empty.
Conv2dShape make_conv2d_shape(const std::string& op, const std::array<std::int64_t, 4>& x,
                              const std::array<std::int64_t, 4>& w, const Conv2dOptions& options);

/// Geometry of a transposed convolution x [N, P, Q, K] -> y [N, H, W, C] with filter
/// w [K, R, S, C / groups]. The result describes the ordinary convolution y -> x of which the
/// transposed one is the backward-input pass, so x and y change places:
/// H = (P - 1) stride - 2 pad + dilation (R - 1) + 1 + output_padding, and W likewise.
/// `output_padding` must be smaller than stride or dilation.
Conv2dShape make_conv_transpose2d_shape(const std::string& op, const std::array<std::int64_t, 4>& x,
                                        const std::array<std::int64_t, 4>& w,
                                        const Conv2dOptions& options,
                                        const std::array<std::int64_t, 2>& output_padding);

}  // namespace attune
