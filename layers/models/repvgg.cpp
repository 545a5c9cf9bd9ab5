#include "attune/layers/models/repvgg.h"

#include <algorithm>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/compare.h"
#include "attune/core/ops/convolution.h"
#include "attune/core/ops/pad.h"
#include "attune/core/ops/pool.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

constexpr std::int64_t kMaxStemChannels = 64;

ConvBNOptions convolution(const RepVggBlock::Options& o, std::int64_t side) {
  return {.in_channels = o.in_channels,
          .out_channels = o.out_channels,
          .kernel = {side, side},
          .stride = {o.stride, o.stride},
          .padding = {side / 2, side / 2}};
}

// Doing nothing, as a 1x1 convolution: the unit matrix [C, 1, 1, C].
Tensor unit_filter(const Tensor& like) {
  const std::int64_t channels = like.size(0);
  std::vector<double> unit(static_cast<std::size_t>(channels * channels));
  for (std::size_t i = 0; i < unit.size(); i += static_cast<std::size_t>(channels) + 1) unit[i] = 1;
  return Tensor::from(unit, {channels, 1, 1, channels}).to(like.dtype()).to(like.device());
}

FoldedConv fold_identity(const BatchNorm2d& norm) {
  const Tensor unit = unit_filter(norm.running_mean());
  return fold_conv_bn({.weight = unit,
                       .gamma = norm.gamma(),
                       .beta = norm.beta(),
                       .running_mean = norm.running_mean(),
                       .running_var = norm.running_var()},
                      filter_channels(unit.shape(), 1, false), norm.options().eps);
}

// The 3x3 branch's share of the sum: sum - others, but exactly `kept` where the sum is as deploy()
// made it. A branch of negligible scale drowns in the rounding of the others, and what is left
// would pass for something learned.
Tensor without(const Tensor& others, const Tensor& sum, const Tensor& kept) {
  if (!kept.defined()) return sum - others;
  const Tensor unchanged = equal(sum, kept + others).to(sum.dtype());
  return unchanged * kept + (1 - unchanged) * (sum - others);
}

}  // namespace

RepVggBlock::RepVggBlock(const Options& o, Generator& generator) {
  if (o.stride == 1 && o.in_channels == o.out_channels) {
    identity_ = std::make_shared<BatchNorm2d>(BatchNorm2d::Options{.channels = o.in_channels});
  }
  dense_ = std::make_shared<ConvBN>(convolution(o, 3), generator);
  one_ = std::make_shared<ConvBN>(convolution(o, 1), generator);
  register_branches();
}

void RepVggBlock::register_branches() {
  if (identity_) register_module("rbr_identity", identity_);
  register_conv_bn("rbr_dense.conv", "rbr_dense.bn", dense_);
  register_conv_bn("rbr_1x1.conv", "rbr_1x1.bn", one_);
}

Tensor RepVggBlock::forward(const Tensor& x) {
  if (dense_->deployed()) return (*dense_)(x, {}, true);
  const Tensor identity = identity_ ? (*identity_)(x) : Tensor();
  return (*dense_)(x, (*one_)(x, identity, false), true);
}

// ---- Deploy and back: the branches themselves are folded ----

FoldedConv RepVggBlock::other_branches() const {
  FoldedConv sum{one_->weight(), one_->bias()};
  if (identity_) {
    const FoldedConv identity = fold_identity(*identity_);
    sum = {sum.weight + identity.weight, sum.bias + identity.bias};
  }
  sum.weight = pad(sum.weight, {{0, 0}, {1, 1}, {1, 1}, {0, 0}});
  return sum;
}

void RepVggBlock::on_deploy() {
  const NoGradGuard no_grad;
  const FoldedConv others = other_branches();
  Tensor weight = dense_->weight(), bias = dense_->bias();
  weight.copy_(weight + others.weight);
  bias.copy_(bias + others.bias);
  unregister_module("rbr_dense.conv");
  unregister_module("rbr_1x1.conv");
  if (identity_) unregister_module("rbr_identity");
  register_conv_bn("rbr_reparam", "rbr_dense.bn", dense_);  // which has no bn.* now
  register_folded("rbr_1x1", one_);
  if (identity_) register_folded("rbr_identity", identity_);
}

void RepVggBlock::on_undeploy() {
  const NoGradGuard no_grad;
  const FoldedConv others = other_branches();
  Tensor weight = dense_->weight(), bias = dense_->bias();
  weight.copy_(without(others.weight, weight, dense_->kept_filter_folded()));
  bias.copy_(bias - others.bias);
  unregister_module("rbr_reparam");
  unregister_module("rbr_1x1");
  if (identity_) unregister_module("rbr_identity");
  register_branches();
}

// ---- The network ----

RepVgg::RepVgg(const RepVggOptions& options, Generator& generator) {
  if (options.depths.empty() || options.depths.size() != options.channels.size() ||
      *std::min_element(options.depths.begin(), options.depths.end()) < 1 ||
      *std::min_element(options.channels.begin(), options.channels.end()) < 1) {
    throw Error(format_text("RepVgg: stages of [{}] blocks of [{}] channels: must be as many, > 0",
                            join_text(options.depths, ", "), join_text(options.channels, ", ")));
  }
  const bool cifar = options.stem == Stem::cifar;
  std::int64_t channels = std::min(kMaxStemChannels, options.channels.front());
  stem_ = register_module("stage0", std::make_shared<RepVggBlock>(
                                        RepVggBlock::Options{.in_channels = options.in_channels,
                                                             .out_channels = channels,
                                                             .stride = cifar ? 1 : 2},
                                        generator));
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    auto stage = std::make_shared<Sequential>();
    for (std::int64_t depth = 0; depth < options.depths[i]; ++depth) {
      const bool halves = depth == 0 && !(cifar && i == 0);
      stage->add<RepVggBlock>(RepVggBlock::Options{.in_channels = channels,
                                                   .out_channels = options.channels[i],
                                                   .stride = halves ? 2 : 1},
                              generator);
      channels = options.channels[i];
    }
    stages_.push_back(register_module(format_text("stage{}", i + 1), stage));
  }
  register_head("linear", channels, options.classes, generator);

  for (auto& [name, tensor] : named_parameters()) {
    if (tensor.rank() == 4) init::lecun_uniform(tensor, generator);
  }
}

Tensor RepVgg::features(const Tensor& x) {
  Tensor y = (*stem_)(x);
  for (const auto& stage : stages_) y = (*stage)(y);
  return y;
}

Tensor RepVgg::forward(const Tensor& x) { return head()(global_avg_pool(features(x))); }

// ---- Named networks ----

namespace {

std::shared_ptr<RepVgg> make_repvgg(const std::vector<std::int64_t>& depths,
                                    const std::vector<std::int64_t>& channels,
                                    const ModelVariant& variant, Generator& generator) {
  const Stem stem = variant.stem.value_or(Stem::imagenet);
  return std::make_shared<RepVgg>(
      RepVggOptions{.depths = depths,
                    .channels = channels,
                    .stem = stem,
                    .in_channels = variant.in_channels,
                    .classes = variant.classes != 0 ? variant.classes : usual_classes(stem)},
      generator);
}

}  // namespace

std::shared_ptr<RepVgg> repvgg_a0(const ModelVariant& variant, Generator& generator) {
  return make_repvgg({2, 4, 14, 1}, {48, 96, 192, 1280}, variant, generator);
}
std::shared_ptr<RepVgg> repvgg_a1(const ModelVariant& variant, Generator& generator) {
  return make_repvgg({2, 4, 14, 1}, {64, 128, 256, 1280}, variant, generator);
}
std::shared_ptr<RepVgg> repvgg_a2(const ModelVariant& variant, Generator& generator) {
  return make_repvgg({2, 4, 14, 1}, {96, 192, 384, 1408}, variant, generator);
}
std::shared_ptr<RepVgg> repvgg_b0(const ModelVariant& variant, Generator& generator) {
  return make_repvgg({4, 6, 16, 1}, {64, 128, 256, 1280}, variant, generator);
}
std::shared_ptr<RepVgg> repvgg_b1(const ModelVariant& variant, Generator& generator) {
  return make_repvgg({4, 6, 16, 1}, {128, 256, 512, 2048}, variant, generator);
}

}  // namespace attune
