#pragma once

#include "attune/core/autograd.h"
#include "attune/core/tensor.h"
#include "attune/kernels/conv2d_shape.h"
#include "attune/kernels/fold_batch_norm.h"

namespace attune {

/// How a layer convolves: an ordinary convolution, or a transposed one.
struct ConvolutionOptions {
  Conv2dOptions conv;
  bool transposed = false;
  std::array<std::int64_t, 2> output_padding{0, 0};  ///< of a transposed convolution
};

/// Which output channel each element of a filter belongs to; its shape is as Convolution says.
kernels::FilterChannels filter_channels(const Shape& filter, std::int64_t groups, bool transposed);

/// What follows a convolution in one pass, in this order: + bias, the norm, + residual, ReLU. What
/// is undefined is left out.
struct ConvolutionEpilogue {
  /// (y - mean) * slope + shift by statistics that are known before; channel vectors.
  struct Norm {
    Tensor y = {};  ///< the output's shape: where it goes before that; undefined: nowhere
    Tensor mean = {};
    Tensor slope = {};  ///< gamma / sqrt(var + eps)
    Tensor shift = {};  ///< beta
  };

  Tensor bias = {};
  Norm norm = {};
  Tensor residual = {};
  bool relu = false;
  Tensor mean = {}, var = {};  ///< where statistics of the output go; undefined: not wanted
};

/// A validated convolution, ordinary or transposed, with its passes on tensors. What conv2d,
/// conv_transpose2d and every mode of conv_bn are built from, so that no mode can forget a stride
/// or a group.
///
/// x [N, H, W, in], y [N, P, Q, out]; the filter is [out, R, S, in / groups], or for a transposed
/// convolution [in, R, S, out / groups].
class Convolution {
 public:
  /// Checks x against the filter and the bias (may be undefined) against the output channels.
  /// Errors begin with `op`.
  Convolution(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const ConvolutionOptions& options);

  Shape output_shape() const;
  std::int64_t out_channels() const { return transposed_ ? shape_.c : shape_.k; }
  std::int64_t output_pixels() const { return output_shape().count() / out_channels(); }
  kernels::FilterChannels filter_channels() const;

  /// y = epilogue(conv(x, weight)). While gradients are off, the filter is taken to be used again:
  /// what a kernel makes of it first is kept until it changes.
  void forward(Tensor& y, const Tensor& x, const Tensor& weight,
               ConvolutionEpilogue epilogue) const;
  /// The gradients that have a destination: dw from x and dy; db = sum of dy over the pixels;
  /// dx = conv^T(dy, weight), then zero where `mask` (the ReLU output x; undefined: none) is not
  /// positive. x is read for dw, weight for dx.
  void backward(GradDestination dx, const Tensor& mask, GradDestination dw, GradDestination db,
                const Tensor& x, const Tensor& dy, const Tensor& weight) const;

 private:
  Conv2dShape shape_;  // of a transposed convolution: the ordinary one it is the adjoint of
  bool transposed_;
};

/// A node that ends its backward in that of a convolution. Its first inputs are x, the filter and
/// the convolution's bias.
struct ConvolutionNode : Node {
  enum Input { x_input, weight_input, bias_input };

  Convolution conv;
  Saved x;  ///< where the filter's gradient, or that of a norm, needs it

  ConvolutionNode(const char* name, const Convolution& convolution)
      : Node(name), conv(convolution) {}

 protected:
  /// Gradients of x (if needed) by `filter`, and of a filter and a bias, where they have a
  /// destination.
  void backward_convolution(const Tensor& dy, const Tensor& filter, GradDestination dw,
                            GradDestination db);
};

/// Throws Error, beginning with `op`, unless `residual` is undefined or has the output's shape.
void check_residual(const char* op, const Tensor& residual, const Shape& output);

/// The elements, or null for an undefined tensor.
template <typename T>
const T* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.data<T>() : nullptr;
}

}  // namespace attune
