#include "attune/core/ops/conv_bn.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/normalization.h"

namespace attune {
namespace {

enum Input { x_input, weight_input, bias_input, gamma_input, beta_input, residual_input };

std::vector<const Tensor*> inputs_of(const ConvBNTensors& t) {
  return {&t.x, &t.weight, &t.bias, &t.gamma, &t.beta, &t.residual};
}

Convolution checked_convolution(const char* op, const ConvBNTensors& t,
                                const ConvBNSettings& settings) {
  const Convolution conv(op, t.x, t.weight, t.bias, settings.convolution);
  check_channel_vectors(op, t.x, conv.out_channels(),
                        {&t.gamma, &t.beta, &t.running_mean, &t.running_var});
  check_residual(op, t.residual, conv.output_shape());
  if (t.running_mean.defined() != t.running_var.defined()) {
    throw Error(format_text("{}: a running mean needs a running variance, and conversely", op));
  }
  return conv;
}

void need_running_statistics(const char* op, const ConvBNTensors& t) {
  if (!t.running_mean.defined()) throw Error(format_text("{}: needs running statistics", op));
}

// ---- Train and Eval: the convolution's output y exists, and is kept ----

struct ConvBNBackward final : Node {
  Convolution conv;
  Saved x, weight, y, gamma, relu_output;
  Saved mean, rstd;         // Train: of the batch
  Saved running_mean, var;  // Eval: 1 / sigma is computed again
  double eps = 0;

  ConvBNBackward(const char* name, const Convolution& convolution)
      : Node(name), conv(convolution) {}

  void backward(Tensor dz) override {
    dz = through_relu(std::move(dz), relu_output);
    if (needs(residual_input)) add_grad(residual_input, dz);

    const bool batch_statistics = mean.defined();
    const ChannelStatistics statistics =
        batch_statistics ? ChannelStatistics{restore(mean), restore(rstd)}
                         : running_statistics(restore(running_mean), restore(var), eps);
    const NormalizeBackward through_norm{.batch_statistics = batch_statistics,
                                         .want_y = needs_y_gradient(),
                                         .want_gamma = needs(gamma_input),
                                         .want_beta = needs(beta_input)};
    const auto grads = through_norm(std::move(dz), restore(y), statistics, restore(gamma));
    if (needs(gamma_input)) add_grad(gamma_input, grads.gamma);
    if (needs(beta_input)) add_grad(beta_input, grads.beta);
    if (needs_y_gradient()) backward_convolution(grads.y);
  }

  bool needs_y_gradient() const {
    return needs(x_input) || needs(weight_input) || needs(bias_input);
  }

 private:
  void backward_convolution(const Tensor& dy) {
    if (needs(bias_input)) {
      auto [grad_bias, accumulate] = destination(bias_input);
      conv.backward_bias(grad_bias, dy, accumulate);
    }
    if (needs(weight_input)) {
      auto [grad_weight, accumulate] = destination(weight_input);
      conv.backward_weight(grad_weight, restore(x), dy, accumulate);
    }
    if (needs(x_input)) {
      const bool masked = input_is_relu_output(x_input) && x.defined();
      auto [grad_x, accumulate] = destination(x_input, masked);
      conv.backward_input(grad_x, dy, restore(weight), accumulate, masked ? restore(x) : Tensor());
    }
  }
};

// Computes y, normalises it and records the node; `batch_statistics` tells Train from Eval.
Tensor conv_then_norm(const char* op, ConvBNTensors& t, const ConvBNSettings& settings,
                      bool batch_statistics) {
  const Convolution conv = checked_convolution(op, t, settings);
  Tensor y = Tensor::empty(conv.output_shape(), t.x.dtype(), t.x.device());
  conv.forward(y, t.x, t.weight, t.bias, {}, false);
  const ChannelStatistics statistics =
      batch_statistics ? attune::batch_statistics(op, y, t.running_mean, t.running_var,
                                                  settings.momentum, settings.eps)
                       : running_statistics(t.running_mean, t.running_var, settings.eps);

  // Decided before normalising: a y that nobody needs later is overwritten in place.
  const bool recording = grad_enabled();
  const auto needed = [&](const Tensor& tensor) { return recording && tensor.requires_grad(); };
  const bool upstream = needed(t.x) || needed(t.weight) || needed(t.bias);
  const bool keep_y = needed(t.gamma) || (batch_statistics && upstream);
  Tensor z = keep_y ? Tensor::empty(y.shape(), y.dtype(), y.device()) : y;
  normalize(z, y, statistics, t.gamma, t.beta, t.residual, settings.relu);

  if (auto node = record_as<ConvBNBackward>(z, inputs_of(t), op, conv)) {
    node->eps = settings.eps;
    if (node->needs(weight_input)) node->x = node->save(t.x);
    if (node->needs(x_input)) node->weight = node->save(t.weight);
    if (keep_y) node->y = node->save(y);
    if (upstream) node->gamma = node->save(t.gamma);
    if (batch_statistics) {
      node->mean = node->save(statistics.mean);
      node->rstd = node->save(statistics.rstd);
    } else {
      node->running_mean = node->save(t.running_mean);
      node->var = node->save(t.running_var);
    }
    if (settings.relu) node->relu_output = node->save_relu_output(z);
  }
  return z;
}

// ---- Tune: y never exists ----

struct ConvBNTuneBackward final : Node {
  Convolution conv;
  Saved x, relu_output;
  Saved folded_weight;                   // a recipe: fold again
  Saved weight, bias, gamma, mean, var;  // parameters and buffers: no bytes of their own
  double eps = 0;

  ConvBNTuneBackward(const char* name, const Convolution& convolution)
      : Node(name), conv(convolution) {}

  void backward(Tensor dz) override {
    dz = through_relu(std::move(dz), relu_output);
    backward_parameters(dz);
    if (needs(x_input)) {
      const bool masked = input_is_relu_output(x_input) && x.defined();
      auto [grad_x, accumulate] = destination(x_input, masked);
      conv.backward_input(grad_x, dz, restore(folded_weight), accumulate,
                          masked ? restore(x) : Tensor());
    }
    if (needs(residual_input)) add_grad(residual_input, std::move(dz));
  }

 private:
  // From the gradients of w' and b' (dw' and S = sum of dz) to those of w, b, gamma and beta.
  void backward_parameters(const Tensor& dz) {
    const bool through_weight = needs(weight_input) || needs(gamma_input);
    if (!through_weight && !needs(bias_input) && !needs(beta_input)) return;

    Tensor grad_folded_bias = gradient_like({conv.out_channels()}, dz);
    conv.backward_bias(grad_folded_bias, dz, /*accumulate=*/false);

    // dw' is computed in dw's place if that is free, so that only one of them exists.
    Tensor grad_weight;
    Tensor grad_folded_weight;
    if (needs(weight_input)) {
      const GradDestination place = destination(weight_input);
      grad_weight = place.grad;
      if (!place.accumulate) grad_folded_weight = place.grad;
    }
    if (through_weight) {
      if (!grad_folded_weight.defined()) {
        grad_folded_weight = gradient_like(restore(weight).shape(), dz);
      }
      conv.backward_weight(grad_folded_weight, restore(x), dz, /*accumulate=*/false);
    }
    Tensor grad_bias = zeroed_destination(bias_input);
    Tensor grad_gamma = zeroed_destination(gamma_input);
    Tensor grad_beta = zeroed_destination(beta_input);
    const Tensor w = restore(weight);
    const Tensor b = restore(bias);
    const Tensor g = restore(gamma);
    visit_floating(dz.dtype(), name(), [&]<typename T>(T) {
      const auto out = [](Tensor& t) { return t.defined() ? t.mutable_data<T>() : nullptr; };
      kernels::fold_batch_norm_backward(
          dz.device(), out(grad_weight), out(grad_bias), out(grad_gamma), out(grad_beta),
          data_or_null<T>(grad_folded_weight), grad_folded_bias.data<T>(), data_or_null<T>(w),
          data_or_null<T>(b), data_or_null<T>(g), restore(mean).template data<T>(),
          restore(var).template data<T>(), static_cast<T>(eps), conv.filter_channels());
    });
  }

  static Tensor gradient_like(const Shape& shape, const Tensor& dz) {
    return Tensor::empty(shape, dz.dtype(), dz.device(), MemoryPurpose::gradient);
  }

  // The gradient buffer of input `i`, ready to be added to; undefined if not needed.
  Tensor zeroed_destination(std::size_t i) {
    if (!needs(i)) return {};
    GradDestination place = destination(i);
    if (!place.accumulate) place.grad.fill_(0);
    return place.grad;
  }
};

}  // namespace

FoldedConv fold_conv_bn(const ConvBNTensors& t, const kernels::FilterChannels& filter, double eps) {
  FoldedConv folded{Tensor::empty(t.weight.shape(), t.weight.dtype(), t.weight.device()),
                    Tensor::empty({filter.channels()}, t.weight.dtype(), t.weight.device())};
  visit_floating(t.weight.dtype(), "fold_conv_bn", [&]<typename T>(T) {
    kernels::fold_batch_norm_forward(t.weight.device(), folded.weight.mutable_data<T>(),
                                     folded.bias.mutable_data<T>(), t.weight.data<T>(),
                                     data_or_null<T>(t.bias), data_or_null<T>(t.gamma),
                                     data_or_null<T>(t.beta), t.running_mean.data<T>(),
                                     t.running_var.data<T>(), static_cast<T>(eps), filter);
  });
  return folded;
}

Tensor conv_bn_train(ConvBNTensors tensors, const ConvBNSettings& settings) {
  return conv_then_norm("conv_bn_train", tensors, settings, /*batch_statistics=*/true);
}

Tensor conv_bn_eval(const ConvBNTensors& tensors, const ConvBNSettings& settings) {
  const char* op = "conv_bn_eval";
  need_running_statistics(op, tensors);
  ConvBNTensors t = tensors;
  return conv_then_norm(op, t, settings, /*batch_statistics=*/false);
}

Tensor conv_bn_tune(const ConvBNTensors& t, const ConvBNSettings& settings) {
  const char* op = "conv_bn_tune";
  need_running_statistics(op, t);
  const Convolution conv = checked_convolution(op, t, settings);
  const kernels::FilterChannels filter = conv.filter_channels();
  Tensor z = Tensor::empty(conv.output_shape(), t.x.dtype(), t.x.device());
  {
    const FoldedConv folded = fold_conv_bn(t, filter, settings.eps);
    conv.forward(z, t.x, folded.weight, folded.bias, t.residual, settings.relu);
  }

  if (auto node = record_as<ConvBNTuneBackward>(z, inputs_of(t), op, conv)) {
    node->eps = settings.eps;
    if (node->needs(weight_input) || node->needs(gamma_input)) node->x = node->save(t.x);
    if (node->needs(x_input)) {
      const double eps = settings.eps;
      node->folded_weight = node->save(
          Recipe{.ingredients = {SavedTensor(t.weight), SavedTensor(t.gamma),
                                 SavedTensor(t.running_mean), SavedTensor(t.running_var)},
                 .rebuild = [filter, eps](const std::vector<Tensor>& parts) {
                   return fold_conv_bn({.weight = parts[0],
                                        .gamma = parts[1],
                                        .running_mean = parts[2],
                                        .running_var = parts[3]},
                                       filter, eps)
                       .weight;
                 }});
    }
    node->weight = node->save(t.weight);
    node->bias = node->save(t.bias);
    node->gamma = node->save(t.gamma);
    node->mean = node->save(t.running_mean);
    node->var = node->save(t.running_var);
    if (settings.relu) node->relu_output = node->save_relu_output(z);
  }
  return z;
}

}  // namespace attune
