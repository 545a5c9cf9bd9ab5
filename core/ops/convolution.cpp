#include "attune/core/ops/convolution.h"

#include <utility>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/kernels/batch_norm.h"
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

void Convolution::forward(Tensor& y, const Tensor& x, const Tensor& weight,
                          ConvolutionEpilogue e) const {
  count_flops(shape_.flops());
  visit_floating(x.dtype(), "conv2d", [&]<typename T>(T) {
    const auto out = [](Tensor& t) { return t.defined() ? t.mutable_data<T>() : nullptr; };
    kernels::Conv2dEpilogue<T> epilogue{.bias = data_or_null<T>(e.bias),
                                        .norm = {.y = out(e.norm.y),
                                                 .mean = data_or_null<T>(e.norm.mean),
                                                 .slope = data_or_null<T>(e.norm.slope),
                                                 .shift = data_or_null<T>(e.norm.shift)},
                                        .residual = data_or_null<T>(e.residual),
                                        .relu = e.relu,
                                        .statistics = {out(e.mean), out(e.var)}};
    kernels::ContentVersion version;
    if (!grad_enabled()) version = weight.storage().version_to_keep();
    if (!transposed_) {
      kernels::conv2d_forward(x.device(), y.mutable_data<T>(), x.data<T>(), weight.data<T>(),
                              shape_, epilogue, version);
      return;
    }
    const auto statistics = std::exchange(epilogue.statistics, {});
    kernels::conv2d_backward_input(x.device(), y.mutable_data<T>(), x.data<T>(), weight.data<T>(),
                                   shape_, epilogue, version);
    if (statistics) {
      kernels::batch_norm_statistics(x.device(), statistics.mean, statistics.var, y.data<T>(),
                                     output_pixels(), out_channels());
    }
  });
}

void Convolution::backward(GradDestination dx, const Tensor& mask, GradDestination dw,
                           GradDestination db, const Tensor& x, const Tensor& dy,
                           const Tensor& weight) const {
  for (const GradDestination* wanted : {&dx, &dw}) {
    if (wanted->grad.defined()) count_flops(shape_.flops());
  }
  visit_floating(dy.dtype(), "conv2d", [&]<typename T>(T) {
    const auto out = [](Tensor& t) { return t.defined() ? t.mutable_data<T>() : nullptr; };
    T* const input = out(dx.grad);
    T* const filter = out(dw.grad);
    const kernels::Conv2dEpilogue<T> epilogue{.residual = dx.accumulate ? input : nullptr,
                                              .mask = data_or_null<T>(mask)};
    kernels::Conv2dBiasGradient<T> bias{out(db.grad), db.accumulate};
    if (bias.db && (transposed_ || !filter)) {
      kernels::conv2d_backward_bias(dy.device(), bias.db, dy.data<T>(), output_pixels(),
                                    out_channels(), bias.accumulate);
      bias = {};
    }
    if (transposed_) {
      // x and dy change places: dy is the ordinary convolution's input.
      if (filter) {
        kernels::conv2d_backward_weight(dy.device(), filter, dy.data<T>(), x.data<T>(), shape_,
                                        dw.accumulate);
      }
      if (input) {
        kernels::conv2d_forward(dy.device(), input, dy.data<T>(), weight.data<T>(), shape_,
                                epilogue);
      }
    } else if (filter && input) {
      kernels::conv2d_backward(dy.device(), input, filter, x.data<T>(), dy.data<T>(),
                               weight.data<T>(), shape_, epilogue, dw.accumulate, bias);
    } else if (filter) {
      kernels::conv2d_backward_weight(dy.device(), filter, x.data<T>(), dy.data<T>(), shape_,
                                      dw.accumulate, bias);
    } else if (input) {
      kernels::conv2d_backward_input(dy.device(), input, dy.data<T>(), weight.data<T>(), shape_,
                                     epilogue);
    }
  });
}

void ConvolutionNode::backward_convolution(const Tensor& dy, const Tensor& filter,
                                           GradDestination dw, GradDestination db) {
  const Tensor input = restore(x);
  if (needs(x_input) && inputs()[x_input] == inputs()[weight_input]) {
    // A tensor convolved with itself has one gradient, which cannot be written in two places.
    conv.backward({}, {}, dw, db, input, dy, {});
    dw = db = {};
  }
  const bool masked = input_is_relu_output(x_input) && x.defined();
  const GradDestination dx = needs(x_input) ? destination(x_input, masked) : GradDestination{};
  conv.backward(dx, masked ? input : Tensor(), dw, db, input, dy, filter);
}

void check_residual(const char* op, const Tensor& residual, const Shape& output) {
  if (residual.defined() && residual.shape() != output) {
    throw Error(format_text("{}: residual {} does not have the output's shape {}", op,
                            to_string(residual.shape()), to_string(output)));
  }
}

}  // namespace attune
