#include "attune/core/ops/conv2d.h"

#include "attune/core/autograd.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"

namespace attune {
namespace {

struct Conv2dBackward final : ConvolutionNode {
  enum { residual_input = bias_input + 1 };

  Saved weight, relu_output;

  using ConvolutionNode::ConvolutionNode;

  void backward(Tensor grad) override {
    grad = through_relu(std::move(grad), relu_output);
    backward_convolution(grad, restore(weight), destination_if_needed(weight_input),
                         destination_if_needed(bias_input));
    if (needs(residual_input)) add_grad(residual_input, std::move(grad));
  }
};

}  // namespace

Tensor convolve(const Tensor& x, const Tensor& weight, const Tensor& bias,
                const ConvolutionOptions& options, const Tensor& residual, bool relu,
                bool recompute) {
  const char* op = options.transposed ? "conv_transpose2d" : "conv2d";
  const OpTimer timer(op);
  const Convolution conv(op, x, weight, bias, options);
  check_residual(op, residual, conv.output_shape());

  Tensor y = Tensor::empty(conv.output_shape(), x.dtype(), x.device());
  conv.forward(y, x, weight, {.bias = bias, .residual = residual, .relu = relu});

  if (auto node = record_as<Conv2dBackward>(y, {&x, &weight, &bias, &residual}, op, conv)) {
    if (node->needs(Conv2dBackward::weight_input)) node->x = node->save_to_round(x);
    if (node->needs(Conv2dBackward::x_input)) node->weight = node->save(weight);
    if (recompute && node->x.defined() && !residual.defined()) {
      node->offer_recipe(y,
                         {.ingredients = {value_to_save(x), SavedTensor(weight), SavedTensor(bias)},
                          .rebuild = [options, relu](const std::vector<Tensor>& parts) {
                            return convolve(parts[0], parts[1], parts[2], options, {}, relu);
                          }});
    }
    if (relu) node->relu_output = node->save_relu_output(y);
  }
  if (auto* const trace = TraceScope::current()) {
    trace->add({op,
                {x, weight, bias, residual},
                y,
                {{"stride", traced_numbers(options.conv.stride)},
                 {"padding", traced_numbers(options.conv.padding)},
                 {"dilation", traced_numbers(options.conv.dilation)},
                 {"groups", {static_cast<double>(options.conv.groups)}},
                 {"output_padding", traced_numbers(options.output_padding)},
                 {"relu", {relu ? 1.0 : 0.0}}}});
  }
  return y;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Conv2dOptions& options, const Tensor& residual, bool relu) {
  return convolve(x, weight, bias, {.conv = options}, residual, relu);
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Conv2dOptions& options,
                        const std::array<std::int64_t, 2>& output_padding) {
  return convolve(x, weight, bias,
                  {.conv = options, .transposed = true, .output_padding = output_padding});
}

}  // namespace attune
