#include "attune/core/ops/conv_bn.h"

#include <array>
#include <memory>
#include <utility>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/normalization.h"
#include "attune/core/profile.h"
#include "attune/core/step_graph.h"
#include "attune/kernels/kept_results.h"

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

bool needed(const Tensor& tensor) { return grad_enabled() && tensor.requires_grad(); }

void need_running_statistics(const char* op, const ConvBNTensors& t) {
  if (!t.running_mean.defined()) throw Error(format_text("{}: needs running statistics", op));
}

// ---- Recipes, for outputs that are not kept ----

// The output of a block, and that of its convolution (undefined if nobody needs it).
struct Outputs {
  Tensor z, y;
};

// The tensors of a block as ingredients, and back.
std::vector<SavedValue> ingredients_of(const ConvBNTensors& t) {
  return {value_to_save(t.x),        SavedTensor(t.weight), SavedTensor(t.bias),
          SavedTensor(t.gamma),      SavedTensor(t.beta),   SavedTensor(t.running_mean),
          SavedTensor(t.running_var)};
}

ConvBNTensors block_of(const std::vector<Tensor>& parts) {
  return {.x = parts[0],
          .weight = parts[1],
          .bias = parts[2],
          .gamma = parts[3],
          .beta = parts[4],
          .running_mean = parts[5],
          .running_var = parts[6]};
}

// Whether the outputs that `node` would keep are to come from its convolution, run again.
bool runs_again(const ConvolutionNode& node, const ConvBNTensors& t,
                const ConvBNSettings& settings) {
  return settings.recompute.convolution && node.x.defined() && !t.residual.defined();
}

// ---- Train: the statistics are those of y, which gradients flow through ----

struct ConvBNTrainBackward final : ConvolutionNode {
  Saved weight, y, gamma, relu_output;
  Saved mean, rstd;

  using ConvolutionNode::ConvolutionNode;

  void backward(Tensor dz) override {
    dz = through_relu(std::move(dz), relu_output);
    if (needs(residual_input)) add_grad(residual_input, dz);

    const bool want_y = needs(x_input) || needs(weight_input) || needs(bias_input);
    const NormalizeBackward through_norm{.batch_statistics = true,
                                         .want_y = want_y,
                                         .want_gamma = needs(gamma_input),
                                         .want_beta = needs(beta_input)};
    const auto grads =
        through_norm(std::move(dz), restore(y), {restore(mean), restore(rstd)}, restore(gamma));
    if (needs(gamma_input)) add_grad(gamma_input, grads.gamma);
    if (needs(beta_input)) add_grad(beta_input, grads.beta);
    if (!want_y) return;
    backward_convolution(grads.y, restore(weight), destination_if_needed(weight_input),
                         destination_if_needed(bias_input));
  }
};

// y = conv(x, w) + b. Both z's recipe and the block's own backward need it; the first of them runs
// the convolution, for both.
Recipe convolution_again(const Convolution& conv, const ConvBNTensors& t) {
  return {.ingredients = {value_to_save(t.x), SavedTensor(t.weight), SavedTensor(t.bias)},
          .rebuild = [conv, y = std::make_shared<Tensor>()](const std::vector<Tensor>& parts) {
            if (!y->defined()) {
              *y = Tensor::empty(conv.output_shape(), parts[0].dtype(), parts[0].device());
              conv.forward(*y, parts[0], parts[1], {.bias = parts[2]});
            }
            return *y;
          }};
}

// z = relu(BN(y)), by the statistics that the batch had.
Recipe normalisation_again(const SavedValue& y, const ChannelStatistics& statistics,
                           const ConvBNTensors& t, bool relu) {
  return {.ingredients = {y, SavedTensor(statistics.mean), SavedTensor(statistics.rstd),
                          SavedTensor(t.gamma), SavedTensor(t.beta)},
          .rebuild = [relu](const std::vector<Tensor>& parts) {
            Tensor z = Tensor::empty(parts[0].shape(), parts[0].dtype(), parts[0].device());
            normalize(z, parts[0], {parts[1], parts[2]}, parts[3], parts[4], {}, relu);
            return z;
          }};
}

// ---- Eval and Tune: the statistics are constants ----

// The normalisation as a step of the convolution's epilogue.
ConvolutionEpilogue::Norm convolution_norm(const ConvBNTensors& t, const Tensor& y, double eps) {
  const NoGradGuard no_grad;
  const Tensor rstd = running_statistics(t.running_mean, t.running_var, eps).rstd;
  return {.y = y,
          .mean = t.running_mean,
          .slope = t.gamma.defined() ? rstd * t.gamma : rstd,
          .shift =
              t.beta.defined() ? t.beta : Tensor::zeros(rstd.shape(), rstd.dtype(), rstd.device())};
}

// The normalisation being one constant map per channel, the block is the convolution with the
// folded filter w' and bias b', and its gradients are had from dz alone. Only Eval has kept y, and
// takes gamma's gradient from it; Tune has <dw', w> instead.
struct ConvBNConstantBackward final : ConvolutionNode {
  Saved relu_output;
  Saved y;                               // Eval
  Saved folded_weight;                   // a recipe: fold again
  Saved weight, bias, gamma, mean, var;  // parameters and buffers: no bytes of their own
  double eps = 0;

  using ConvolutionNode::ConvolutionNode;

  // From the gradients of w' and b' (dw' and S = sum of dz) follow those of w, b, gamma and beta.
  void backward(Tensor dz) override {
    dz = through_relu(std::move(dz), relu_output);
    const bool gamma_from_y = y.defined();
    const bool through_weight = needs(weight_input) || (needs(gamma_input) && !gamma_from_y);
    const bool sum_dz = through_weight || gamma_from_y || needs(bias_input) || needs(beta_input);

    Tensor grad_folded_bias;
    if (gamma_from_y) {
      auto grads = NormalizeBackward{.want_gamma = true, .want_beta = true}(
          dz, restore(y), running_statistics(restore(mean), restore(var), eps), {});
      add_grad(gamma_input, std::move(grads.gamma));
      grad_folded_bias = grads.beta;
    } else if (sum_dz) {
      grad_folded_bias = gradient_like({conv.out_channels()}, dz);
    }
    // dw' is computed in dw's place if that is free, so that only one of them exists.
    Tensor grad_weight;
    Tensor grad_folded_weight;
    if (needs(weight_input) && inputs()[weight_input] != inputs()[x_input]) {
      const GradDestination place = destination(weight_input);
      grad_weight = place.grad;
      if (!place.accumulate) grad_folded_weight = place.grad;
    }
    if (through_weight && !grad_folded_weight.defined()) {
      grad_folded_weight = gradient_like(restore(weight).shape(), dz);
    }
    backward_convolution(dz, restore(folded_weight), {grad_folded_weight},
                         {gamma_from_y ? Tensor() : grad_folded_bias});
    if (sum_dz) {
      if (!grad_weight.defined()) grad_weight = zeroed_destination(weight_input);
      backward_fold(grad_weight, grad_folded_weight, grad_folded_bias);
    }
    if (needs(residual_input)) add_grad(residual_input, std::move(dz));
  }

 private:
  void backward_fold(Tensor& grad_weight, const Tensor& grad_folded_weight,
                     const Tensor& grad_folded_bias) {
    Tensor grad_bias = zeroed_destination(bias_input);
    Tensor grad_gamma = y.defined() ? Tensor() : zeroed_destination(gamma_input);
    Tensor grad_beta = zeroed_destination(beta_input);
    const Tensor w = restore(weight);
    const Tensor b = restore(bias);
    const Tensor g = restore(gamma);
    visit_floating(grad_folded_bias.dtype(), name(), [&]<typename T>(T) {
      const auto out = [](Tensor& t) { return t.defined() ? t.mutable_data<T>() : nullptr; };
      kernels::fold_batch_norm_backward(
          grad_folded_bias.device(), out(grad_weight), out(grad_bias), out(grad_gamma),
          out(grad_beta), data_or_null<T>(grad_folded_weight), grad_folded_bias.data<T>(),
          data_or_null<T>(w), data_or_null<T>(b), data_or_null<T>(g),
          restore(mean).template data<T>(), restore(var).template data<T>(), static_cast<T>(eps),
          conv.filter_channels());
    });
  }

  static Tensor gradient_like(const Shape& shape, const Tensor& dz) {
    return Tensor::empty(shape, dz.dtype(), dz.device(), MemoryPurpose::gradient);
  }

  // The gradient buffer of input `i`, ready to be added to; undefined if not needed.
  Tensor zeroed_destination(std::size_t i) {
    GradDestination place = destination_if_needed(i);
    if (place.grad.defined() && !place.accumulate) place.grad.fill_(0);
    return place.grad;
  }
};

// Records z and, unless nobody needs it, y: what run(t), the computation of Eval or Tune, gave.
template <typename Run>
void record_constant(const char* op, Outputs& outputs, const ConvBNTensors& t,
                     const Convolution& conv, const ConvBNSettings& settings, const Run& run) {
  auto& [z, y] = outputs;
  const auto node = record_as<ConvBNConstantBackward>(z, inputs_of(t), op, conv);
  if (!node) return;
  const double eps = settings.eps;
  node->eps = eps;
  const bool gamma_needs_x = node->needs(gamma_input) && !y.defined();
  if (node->needs(weight_input) || gamma_needs_x) node->x = node->save_to_round(t.x);
  SavedValue kept_y = SavedTensor(y);
  if (runs_again(*node, t, settings)) {
    // Who consumed z needs it before this node needs y, and leaves that behind.
    const auto left_y = std::make_shared<Tensor>();
    const auto ingredients = ingredients_of(t);
    node->offer_recipe(z, {ingredients, [run, left_y](const std::vector<Tensor>& parts) {
                             Outputs again = run(block_of(parts));
                             *left_y = std::move(again.y);
                             return again.z;
                           }});
    kept_y = Recipe{ingredients, [run, left_y](const std::vector<Tensor>& parts) {
                      return left_y->defined() ? *left_y : run(block_of(parts)).y;
                    }};
  }
  if (y.defined()) node->y = node->save(std::move(kept_y));
  if (node->needs(x_input)) {
    node->folded_weight = node->save(
        Recipe{.ingredients = {SavedTensor(t.weight), SavedTensor(t.gamma),
                               SavedTensor(t.running_mean), SavedTensor(t.running_var)},
               .rebuild = [filter = conv.filter_channels(), eps](const std::vector<Tensor>& parts) {
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

// ---- Tune while gradients are off: a fold serves many calls ----

struct KeptFold final : kernels::KeptResult {
  std::array<std::uint64_t, 6> versions{};  // of all that is folded; 0: undefined
  kernels::FilterChannels filter;
  double eps = 0;
  FoldedConv folded;
};

// The fold of these tensors, kept with their filter. A step that is being recorded folds anew: when
// it is repeated, they may be others.
FoldedConv kept_fold(const ConvBNTensors& t, const kernels::FilterChannels& filter, double eps) {
  if (recording_step()) return fold_conv_bn(t, filter, eps);
  const auto version = [](const Tensor& part) {
    return part.defined() ? part.storage().version() : 0;
  };
  const std::array versions{t.weight.storage().version_to_keep(),
                            version(t.bias),
                            version(t.gamma),
                            version(t.beta),
                            version(t.running_mean),
                            version(t.running_var)};
  const void* source = t.weight.storage().data();
  const auto kept = std::dynamic_pointer_cast<const KeptFold>(kernels::kept_result(source));
  if (kept && kept->versions == versions && kept->filter == filter && kept->eps == eps) {
    return kept->folded;
  }
  const auto fresh = std::make_shared<KeptFold>();
  fresh->versions = versions;
  fresh->filter = filter;
  fresh->eps = eps;
  fresh->folded = fold_conv_bn(t, filter, eps);
  for (Tensor* part : {&fresh->folded.weight, &fresh->folded.bias}) {
    part->storage().set_purpose(MemoryPurpose::workspace);
  }
  kernels::keep_result(source, fresh);
  return fresh->folded;
}

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

Tensor conv_bn_train(const ConvBNTensors& t, const ConvBNSettings& settings) {
  const char* op = "conv_bn_train";
  const OpTimer timer(op);
  const Convolution conv = checked_convolution(op, t, settings);
  Tensor y = Tensor::empty(conv.output_shape(), t.x.dtype(), t.x.device());
  BatchStatistics batch(op, y);
  conv.forward(y, t.x, t.weight, {.bias = t.bias, .mean = batch.mean, .var = batch.var});
  const ChannelStatistics statistics =
      batch.finish(t.running_mean, t.running_var, settings.momentum, settings.eps);

  // Decided before normalising: a y that nobody needs later is overwritten in place.
  const bool upstream = needed(t.x) || needed(t.weight) || needed(t.bias);
  const bool keep_y = needed(t.gamma) || upstream;
  Tensor z = keep_y ? Tensor::empty(y.shape(), y.dtype(), y.device()) : y;
  normalize(z, y, statistics, t.gamma, t.beta, t.residual, settings.relu);

  if (auto node = record_as<ConvBNTrainBackward>(z, inputs_of(t), op, conv)) {
    if (node->needs(weight_input)) node->x = node->save_to_round(t.x);
    if (node->needs(x_input)) node->weight = node->save(t.weight);
    if (upstream) node->gamma = node->save(t.gamma);
    node->mean = node->save(statistics.mean);
    node->rstd = node->save(statistics.rstd);
    if (keep_y) {
      const bool again = runs_again(*node, t, settings);
      const SavedValue kept_y = again ? SavedValue(convolution_again(conv, t)) : SavedTensor(y);
      node->y = node->save(kept_y);
      if (again || (settings.recompute.activation && !t.residual.defined())) {
        node->offer_recipe(z, normalisation_again(kept_y, statistics, t, settings.relu));
      }
    }
    if (settings.relu) node->relu_output = node->save_relu_output(z);
  }
  return z;
}

Tensor conv_bn_eval(const ConvBNTensors& t, const ConvBNSettings& settings) {
  const char* op = "conv_bn_eval";
  const OpTimer timer(op);
  need_running_statistics(op, t);
  const Convolution conv = checked_convolution(op, t, settings);
  const auto run = [conv, settings, want_y = needed(t.gamma)](const ConvBNTensors& block) {
    Outputs outputs;
    outputs.z = Tensor::empty(conv.output_shape(), block.x.dtype(), block.x.device());
    if (want_y) outputs.y = Tensor::empty(outputs.z.shape(), block.x.dtype(), block.x.device());
    conv.forward(outputs.z, block.x, block.weight,
                 {.bias = block.bias,
                  .norm = convolution_norm(block, outputs.y, settings.eps),
                  .residual = block.residual,
                  .relu = settings.relu});
    return outputs;
  };
  Outputs outputs = run(t);
  record_constant(op, outputs, t, conv, settings, run);
  return outputs.z;
}

Tensor conv_bn_tune(const ConvBNTensors& t, const ConvBNSettings& settings) {
  const char* op = "conv_bn_tune";
  const OpTimer timer(op);
  need_running_statistics(op, t);
  const Convolution conv = checked_convolution(op, t, settings);
  const auto run = [conv, settings](const ConvBNTensors& block) {
    Tensor z = Tensor::empty(conv.output_shape(), block.x.dtype(), block.x.device());
    const bool keep = !grad_enabled() && block.weight.device() != Device::meta;
    const FoldedConv folded =
        (keep ? kept_fold : fold_conv_bn)(block, conv.filter_channels(), settings.eps);
    conv.forward(z, block.x, folded.weight,
                 {.bias = folded.bias, .residual = block.residual, .relu = settings.relu});
    return Outputs{.z = z, .y = {}};
  };
  Outputs outputs = run(t);
  record_constant(op, outputs, t, conv, settings, run);
  return outputs.z;
}

}  // namespace attune
