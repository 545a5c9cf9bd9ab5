#include "attune/layers/conv_bn.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/batch_norm.h"
#include "attune/core/ops/conv2d.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

Shape filter_shape(const ConvBNOptions& o) {
  const std::int64_t first = o.transposed ? o.in_channels : o.out_channels;
  const std::int64_t last = o.transposed ? o.out_channels : o.in_channels;
  return {first, o.kernel[0], o.kernel[1], last / o.groups};
}

void check_options(const ConvBNOptions& o) {
  if (o.in_channels < 1 || o.out_channels < 1 || o.groups < 1 || o.in_channels % o.groups != 0 ||
      o.out_channels % o.groups != 0) {
    throw Error(format_text("ConvBN: {} input and {} output channels in {} groups", o.in_channels,
                            o.out_channels, o.groups));
  }
}

void check_shape(const char* name, const Tensor& tensor, const Shape& shape, bool present) {
  if (tensor.defined() != present || (present && tensor.shape() != shape)) {
    throw Error(format_text("ConvBN: {} is {}, but the options ask for {}", name, describe(tensor),
                            present ? to_string(shape) : "none"));
  }
}

// A parameter or buffer in its next life: the same elements, no gradient history.
Tensor as_buffer(const Tensor& tensor) { return tensor.defined() ? tensor.detach() : Tensor(); }

// Calls f(element, channel) for every element of a filter.
template <typename F>
void for_each_element(const kernels::FilterChannels& filter, F&& f) {
  std::int64_t element = 0;
  for (std::int64_t o = 0; o < filter.outer; ++o) {
    for (std::int64_t m = 0; m < filter.middle; ++m) {
      for (std::int64_t i = 0; i < filter.inner; ++i) f(element++, filter.channel(o, i));
    }
  }
}

}  // namespace

ConvBN::ConvBN(const ConvBNOptions& options, Generator& generator)
    : ConvBN(
          options,
          [&] {
            check_options(options);
            const Shape channels{options.out_channels};
            ConvBNTensors fresh{.weight = Tensor::empty(filter_shape(options)),
                                .running_mean = Tensor::zeros(channels),
                                .running_var = Tensor::ones(channels)};
            init::kaiming_normal(fresh.weight, generator);
            fresh.weight.set_requires_grad();
            if (options.bias) fresh.bias = Tensor::zeros(channels).set_requires_grad();
            if (options.affine) {
              fresh.gamma = Tensor::ones(channels).set_requires_grad();
              fresh.beta = Tensor::zeros(channels).set_requires_grad();
            }
            return fresh;
          }(),
          Tensor::zeros({}, DType::int64)) {}

ConvBN::ConvBN(const ConvBNOptions& options, const ConvBNTensors& tensors,
               const Tensor& num_batches_tracked)
    : options_(options),
      weight_(tensors.weight),
      bias_(tensors.bias),
      gamma_(tensors.gamma),
      beta_(tensors.beta),
      running_mean_(tensors.running_mean),
      running_var_(tensors.running_var),
      num_batches_tracked_(num_batches_tracked) {
  check_options(options);
  const Shape channels{options.out_channels};
  check_shape("weight", weight_, filter_shape(options), true);
  check_shape("bias", bias_, channels, options.bias);
  check_shape("gamma", gamma_, channels, options.affine);
  check_shape("beta", beta_, channels, options.affine);
  check_shape("running_mean", running_mean_, channels, true);
  check_shape("running_var", running_var_, channels, true);
  register_tensors();
}

void ConvBN::register_tensors() {
  clear_registrations();
  const auto parameter = [&](const char* name, Tensor& tensor) {
    if (tensor.defined()) register_parameter(name, tensor, tensor.requires_grad());
  };
  const auto buffer = [&](const char* name, Tensor& tensor) {
    if (tensor.defined()) register_buffer(name, tensor);
  };
  parameter("conv.weight", weight_);
  parameter("conv.bias", bias_);
  if (deployed()) {
    buffer("conv.folded_bn.gamma", kept_->gamma);
    buffer("conv.folded_bn.beta", kept_->beta);
    buffer("conv.folded_bn.bias", kept_->bias);
    buffer("conv.folded_bn.mean", kept_->mean);
    buffer("conv.folded_bn.var", kept_->var);
    register_optional_buffer("conv.folded_bn.weight", kept_->weight, weight_);
    buffer("conv.folded_bn.num_batches_tracked", num_batches_tracked_);
    return;
  }
  parameter("bn.weight", gamma_);
  parameter("bn.bias", beta_);
  buffer("bn.running_mean", running_mean_);
  buffer("bn.running_var", running_var_);
  buffer("bn.num_batches_tracked", num_batches_tracked_);
}

// ---- Computing ----

ConvolutionOptions ConvBN::convolution_options() const {
  return {.conv = {.stride = options_.stride,
                   .padding = options_.padding,
                   .dilation = options_.dilation,
                   .groups = options_.groups},
          .transposed = options_.transposed,
          .output_padding = options_.output_padding};
}

kernels::FilterChannels ConvBN::filter_channels() const {
  return attune::filter_channels(weight_.shape(), options_.groups, options_.transposed);
}

ConvBNTensors ConvBN::tensors(const Tensor& x, const Tensor& residual) const {
  return {.x = x,
          .weight = weight_,
          .bias = bias_,
          .gamma = gamma_,
          .beta = beta_,
          .running_mean = running_mean_,
          .running_var = running_var_,
          .residual = residual};
}

Tensor ConvBN::forward(const Tensor& x, const Tensor& residual, bool relu) {
  const ConvBNSettings settings{.convolution = convolution_options(),
                                .eps = options_.eps,
                                .momentum = options_.momentum,
                                .relu = relu,
                                .recompute = recompute_};
  switch (mode_) {
    case Mode::train:
      count_batch(num_batches_tracked_);
      return conv_bn_train(tensors(x, residual), settings);
    case Mode::eval:
      return conv_bn_eval(tensors(x, residual), settings);
    case Mode::tune:
      return conv_bn_tune(tensors(x, residual), settings);
    case Mode::deploy:
      break;
  }
  return convolve(x, weight_, bias_, settings.convolution, residual, relu, recompute_.convolution);
}

std::int64_t ConvBN::flops(const Shape& input, const Shape& output) const {
  // A transposed convolution spreads each input pixel, an ordinary one gathers each output pixel.
  const std::int64_t pixels = (options_.transposed ? input : output).count() /
                              (options_.transposed ? options_.in_channels : options_.out_channels);
  return 2 * pixels * weight_.count();
}

// ---- Modes ----

void ConvBN::pin_mode(Mode mode) {
  pinned_ = false;
  check_set_mode(mode);
  mode_ = mode;
  pinned_ = true;
}

void ConvBN::check_set_mode(Mode mode) const {
  if (pinned_) return;
  if (mode == Mode::deploy && !deployed()) {
    throw Error(format_text("set_mode: ConvBN '{}' is not folded; call deploy() first", path()));
  }
  if (mode != Mode::deploy && deployed()) {
    throw Error(format_text("set_mode: ConvBN '{}' is folded; call undeploy() before mode {}",
                            path(), to_string(mode)));
  }
}

void ConvBN::on_set_mode(Mode mode) {
  if (!pinned_) mode_ = mode;
}

// ---- Deploy and back ----

Tensor ConvBN::folding_scale() const {
  const Tensor& gamma = deployed() ? kept_->gamma : gamma_;
  if (weight_.device() == Device::meta) {
    return Tensor::empty({options_.out_channels}, weight_.dtype(), Device::meta);
  }
  const std::vector<double> var = (deployed() ? kept_->var : running_var_).to_vector<double>();
  std::vector<double> scale =
      gamma.defined() ? gamma.to_vector<double>() : std::vector<double>(var.size(), 1.0);
  for (std::size_t c = 0; c < var.size(); ++c) scale[c] /= std::sqrt(var[c] + options_.eps);
  return Tensor::from(scale, {options_.out_channels}).to(weight_.dtype());
}

bool ConvBN::has_negligible_scale() const {
  if (weight_.device() == Device::meta) return false;
  const std::vector<double> scales = folding_scale().to_vector<double>();
  return std::any_of(scales.begin(), scales.end(),
                     [](double s) { return std::abs(s) < kNegligibleScale; });
}

Tensor ConvBN::kept_filter_folded() const {
  return deployed() && kept_->weight.defined() ? fold(*kept_) : Tensor();
}

Tensor ConvBN::fold(const Kept& kept) const {
  const NoGradGuard no_grad;
  return fold_conv_bn({.weight = kept.weight,
                       .gamma = kept.gamma,
                       .running_mean = kept.mean,
                       .running_var = kept.var},
                      filter_channels(), options_.eps)
      .weight;
}

void ConvBN::check_deploy() const {
  if (deployed()) {
    throw Error(format_text("deploy: ConvBN '{}' is folded already", path()));
  }
}

void ConvBN::on_deploy() {
  NoGradGuard no_grad;
  const FoldedConv folded = fold_conv_bn(tensors({}, {}), filter_channels(), options_.eps);
  const bool keep_weight = has_negligible_scale();
  const Kept kept{.gamma = as_buffer(gamma_),
                  .beta = as_buffer(beta_),
                  .bias = as_buffer(bias_),
                  .mean = running_mean_,
                  .var = running_var_,
                  .weight = keep_weight ? as_buffer(weight_) : Tensor(),
                  .weight_trainable = weight_.requires_grad(),
                  .bias_trainable = bias_.requires_grad(),
                  .gamma_trainable = gamma_.requires_grad(),
                  .beta_trainable = beta_.requires_grad()};
  for (Tensor* replaced : {&weight_, &bias_, &gamma_, &beta_}) {
    if (replaced->defined()) replaced->retire();
  }
  weight_ = folded.weight;
  weight_.set_requires_grad(kept.weight_trainable || kept.gamma_trainable);
  bias_ = folded.bias;
  bias_.set_requires_grad(kept.bias_trainable || kept.beta_trainable || kept.gamma_trainable);
  gamma_ = beta_ = running_mean_ = running_var_ = {};
  kept_ = kept;
  mode_ = Mode::deploy;
  register_tensors();
}

void ConvBN::check_undeploy() const {
  if (!deployed()) {
    throw Error(format_text("undeploy: ConvBN '{}' is not folded", path()));
  }
}

void ConvBN::on_undeploy() {
  NoGradGuard no_grad;
  Kept kept = *kept_;
  weight_.retire();
  bias_.retire();
  if (weight_.device() == Device::meta) {
    weight_ = weight_.clone();
  } else {
    visit_floating(weight_.dtype(), "undeploy", [&]<typename T>(T) { unfold<T>(kept); });
  }
  weight_.set_requires_grad(kept.weight_trainable);
  bias_ = kept.bias;
  gamma_ = kept.gamma;
  beta_ = kept.beta;
  running_mean_ = kept.mean;
  running_var_ = kept.var;
  if (bias_.defined()) bias_.set_requires_grad(kept.bias_trainable);
  if (gamma_.defined()) gamma_.set_requires_grad(kept.gamma_trainable);
  if (beta_.defined()) beta_.set_requires_grad(kept.beta_trainable);
  kept_.reset();
  mode_ = Mode::eval;
  register_tensors();
}

// Replaces weight_ by w, and of `kept` the vectors that the new b' (and a rebuilt channel) change.
template <typename T>
void ConvBN::unfold(Kept& kept) {
  // Done on the CPU: it is rare, and a few numbers a channel.
  const Device device = weight_.device();
  const std::array<Tensor*, 8> taken{&weight_,   &bias_,     &kept.weight, &kept.gamma,
                                     &kept.beta, &kept.bias, &kept.mean,   &kept.var};
  for (Tensor* tensor : taken) {
    if (tensor->defined()) *tensor = tensor->to(Device::cpu);
  }
  const kernels::FilterChannels filter = filter_channels();
  const auto channels = static_cast<std::size_t>(options_.out_channels);
  const std::vector<T> folded_bias = bias_.to_vector<T>();
  const std::vector<T> bias =
      kept.bias.defined() ? kept.bias.to_vector<T>() : std::vector<T>(channels);
  const std::vector<T> mean = kept.mean.to_vector<T>();
  const std::vector<T> var = kept.var.to_vector<T>();
  std::vector<double> scale = folding_scale().to_vector<double>();

  // Filters kept aside: folding them again tells which channels of w' have changed since.
  std::vector<bool> restored(channels, false);
  if (kept.weight.defined()) {
    const Tensor again = fold(kept);
    for (std::size_t c = 0; c < channels; ++c) {
      restored[c] = std::abs(scale[c]) < kNegligibleScale;
    }
    const T* then = again.data<T>();
    const T* now = weight_.data<T>();
    for_each_element(filter, [&](std::int64_t element, std::int64_t channel) {
      if (then[element] != now[element]) restored[static_cast<std::size_t>(channel)] = false;
    });
  }
  for (std::size_t c = 0; c < channels; ++c) {
    if (std::abs(scale[c]) >= kNegligibleScale || restored[c]) continue;
    // Without gamma s = r, which no finite variance makes negligible by itself; then the channel
    // keeps its scale, and the division below is as exact as any.
    if (!kept.gamma.defined()) continue;
    scale[c] = 1;
    kept.gamma.mutable_data<T>()[c] =
        static_cast<T>(std::sqrt(static_cast<double>(var[c]) + options_.eps));
  }

  Tensor weight = Tensor::empty(weight_.shape(), weight_.dtype(), weight_.device());
  T* w = weight.mutable_data<T>();
  const T* folded = weight_.data<T>();
  const T* aside = kept.weight.defined() ? kept.weight.data<T>() : nullptr;
  for_each_element(filter, [&](std::int64_t element, std::int64_t channel) {
    const auto c = static_cast<std::size_t>(channel);
    w[element] = restored[c] ? aside[element] : static_cast<T>(folded[element] / scale[c]);
  });
  weight_ = weight;

  for (std::size_t c = 0; c < channels; ++c) {
    const double b = bias[c];
    if (kept.beta.defined()) {
      kept.beta.mutable_data<T>()[c] = static_cast<T>(folded_bias[c] - (b - mean[c]) * scale[c]);
    } else if (kept.bias.defined()) {
      kept.bias.mutable_data<T>()[c] = static_cast<T>(folded_bias[c] / scale[c] + mean[c]);
    } else {
      kept.mean.mutable_data<T>()[c] = static_cast<T>(-folded_bias[c] / scale[c]);
    }
  }
  for (Tensor* tensor : taken) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
}

}  // namespace attune
