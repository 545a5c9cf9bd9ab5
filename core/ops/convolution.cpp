#include "attune/core/ops/convolution.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/kernels/conv2d.h"

namespace attune {
namespace {

std::array<std::int64_t, 4> sizes(const Tensor& tensor) {
  return {tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
}

}  // namespace

Convolution::Convolution(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const ConvolutionOptions& options)
    : transposed_(options.transposed) {
  check_rank(op, "input", x, 4);
  check_rank(op, "weight", weight, 4);
  check_compatible(op, x, weight);
  shape_ = transposed_ ? make_conv_transpose2d_shape(op, sizes(x), sizes(weight), options.conv,
                                                     options.output_padding)
                       : make_conv2d_shape(op, sizes(x), sizes(weight), options.conv);
  if (bias.defined()) {
    check_compatible(op, x, bias);
    if (bias.shape() != Shape{out_channels()}) {
      throw Error(format_text("{}: bias {} does not fit {} output channels", op,
                              to_string(bias.shape()), out_channels()));
    }
  }
}

Shape Convolution::output_shape() const {
  const Conv2dShape& s = shape_;
  return transposed_ ? Shape{s.n, s.h, s.w, s.c} : Shape{s.n, s.p, s.q, s.k};
}

kernels::FilterChannels filter_channels(const Shape& filter, std::int64_t groups, bool transposed) {
  const std::int64_t window = filter[1] * filter[2];
  if (transposed) {
    return {.outer = filter[0],
            .middle = window,
            .inner = filter[3],
            .outer_per_group = filter[0] / groups};
  }
  return {.outer = filter[0], .middle = window * filter[3]};
}

kernels::FilterChannels Convolution::filter_channels() const {
  const Conv2dShape& s = shape_;
  return attune::filter_channels({s.k, s.r, s.s, s.channels_per_group()}, s.groups, transposed_);
}

void Convolution::forward(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Tensor& residual, bool relu) const {
  visit_floating(x.dtype(), "conv2d", [&]<typename T>(T) {
    const auto pass = transposed_ ? kernels::conv2d_backward_input<T> : kernels::conv2d_forward<T>;
    pass(x.device(), y.mutable_data<T>(), x.data<T>(), weight.data<T>(), shape_,
         {.bias = data_or_null<T>(bias), .residual = data_or_null<T>(residual), .relu = relu});
  });
}

void Convolution::backward_input(Tensor& dx, const Tensor& dy, const Tensor& weight,
                                 bool accumulate, const Tensor& mask) const {
  visit_floating(dy.dtype(), "conv2d", [&]<typename T>(T) {
    const auto pass = transposed_ ? kernels::conv2d_forward<T> : kernels::conv2d_backward_input<T>;
    T* out = dx.mutable_data<T>();
    pass(dy.device(), out, dy.data<T>(), weight.data<T>(), shape_,
         {.residual = accumulate ? out : nullptr, .mask = data_or_null<T>(mask)});
  });
}

void Convolution::backward_weight(Tensor& dw, const Tensor& x, const Tensor& dy,
                                  bool accumulate) const {
  const Tensor& wide = transposed_ ? dy : x;  // the ordinary convolution's input
  const Tensor& narrow = transposed_ ? x : dy;
  visit_floating(x.dtype(), "conv2d", [&]<typename T>(T) {
    kernels::conv2d_backward_weight(x.device(), dw.mutable_data<T>(), wide.data<T>(),
                                    narrow.data<T>(), shape_, accumulate);
  });
}

void Convolution::backward_bias(Tensor& db, const Tensor& dy, bool accumulate) const {
  visit_floating(dy.dtype(), "conv2d", [&]<typename T>(T) {
    kernels::conv2d_backward_bias(dy.device(), db.mutable_data<T>(), dy.data<T>(), output_pixels(),
                                  out_channels(), accumulate);
  });
}

void check_residual(const char* op, const Tensor& residual, const Shape& output) {
  if (residual.defined() && residual.shape() != output) {
    throw Error(format_text("{}: residual {} does not have the output's shape {}", op,
                            to_string(residual.shape()), to_string(output)));
  }
}

}  // namespace attune
