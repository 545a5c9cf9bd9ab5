#pragma once

#include "attune/core/ops/convolution.h"
#include "attune/core/tensor.h"

namespace attune {

/// y [N, P, Q, K] = conv(x [N, H, W, C], weight [K, R, S, C / groups]) + bias [K], then
/// + residual [N, P, Q, K], then ReLU, in one pass. Undefined `bias` and `residual` are left out.
///
/// Keeps x if weight needs a gradient, and y if `relu`.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv2dOptions& options = {}, const Tensor& residual = {}, bool relu = false);

/// y [N, H, W, K] = transposed convolution of x [N, P, Q, C] with weight [C, R, S, K / groups]: the
/// adjoint of a convolution, which spreads each input pixel over a window of the output.
/// H = (P - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1.
///
/// Keeps x if weight needs a gradient.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const Conv2dOptions& options = {},
                        const std::array<std::int64_t, 2>& output_padding = {0, 0});

/// Either of them, by `options.transposed`. With `recompute`, who would keep y runs the convolution
/// again in backward instead, if x is kept anyway and there is no residual.
Tensor convolve(const Tensor& x, const Tensor& weight, const Tensor& bias,
                const ConvolutionOptions& options, const Tensor& residual = {}, bool relu = false,
                bool recompute = false);

}  // namespace attune
