#include "attune/layers/models/densenet.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/concatenate.h"
#include "attune/core/ops/pool.h"
#include "attune/core/ops/unary.h"
#include "attune/layers/dropout.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

constexpr std::int64_t kChannelAxis = 3;

std::shared_ptr<BatchNorm2d> batch_norm(std::int64_t channels) {
  return std::make_shared<BatchNorm2d>(BatchNorm2d::Options{.channels = channels});
}

std::shared_ptr<Conv2d> plain_conv(std::int64_t in, std::int64_t out, std::int64_t side,
                                   Generator& generator) {
  return std::make_shared<Conv2d>(Conv2d::Options{.in_channels = in,
                                                  .out_channels = out,
                                                  .kernel = {side, side},
                                                  .padding = {side / 2, side / 2},
                                                  .bias = false},
                                  generator);
}

/// Adds channels to those it reads: x [N, H, W, C] -> [N, H, W, C + growth], x coming first.
class DenseLayer final : public Module {
 public:
  DenseLayer(std::int64_t channels, const DenseNetOptions& o, Generator& generator) {
    const std::int64_t wide = o.bottleneck * o.growth;
    norm1_ = register_module("norm1", batch_norm(channels));
    conv1_ = register_conv_bn(
        "conv1", "norm2",
        std::make_shared<ConvBN>(
            ConvBNOptions{.in_channels = channels, .out_channels = wide, .kernel = {1, 1}},
            generator));
    conv2_ = register_module("conv2", plain_conv(wide, o.growth, 3, generator));
    dropout_ = register_module("dropout", std::make_shared<Dropout>(o.dropout));
  }

  std::string type_name() const override { return "DenseLayer"; }

  Tensor forward(const Tensor& x) override {
    Tensor y = (*norm1_)(x, true);
    y = (*conv1_)(y, {}, true);
    y = (*dropout_)((*conv2_)(y));
    return concatenate({x, y}, kChannelAxis);
  }

 private:
  std::shared_ptr<BatchNorm2d> norm1_;
  std::shared_ptr<ConvBN> conv1_;
  std::shared_ptr<Conv2d> conv2_;
  std::shared_ptr<Dropout> dropout_;
};

class DenseBlock final : public Module {
 public:
  DenseBlock(std::int64_t channels, std::int64_t depth, const DenseNetOptions& o,
             Generator& generator) {
    for (std::int64_t i = 0; i < depth; ++i) {
      layers_.push_back(
          register_module(format_text("denselayer{}", i + 1),
                          std::make_shared<DenseLayer>(channels + i * o.growth, o, generator)));
    }
  }

  std::string type_name() const override { return "DenseBlock"; }

  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (const auto& layer : layers_) y = (*layer)(y);
    return y;
  }

 private:
  std::vector<std::shared_ptr<DenseLayer>> layers_;
};

/// x [N, H, W, C] -> [N, H / 2, W / 2, C / 2].
class Transition final : public Module {
 public:
  Transition(std::int64_t channels, Generator& generator) {
    norm_ = register_module("norm", batch_norm(channels));
    conv_ = register_module("conv", plain_conv(channels, channels / 2, 1, generator));
  }

  std::string type_name() const override { return "Transition"; }

  Tensor forward(const Tensor& x) override {
    return avg_pool2d((*conv_)((*norm_)(x, true)), {.window = {2, 2}});
  }

 private:
  std::shared_ptr<BatchNorm2d> norm_;
  std::shared_ptr<Conv2d> conv_;
};

void check(const DenseNetOptions& o) {
  if (o.depths.empty() || *std::min_element(o.depths.begin(), o.depths.end()) < 1 || o.growth < 1 ||
      o.bottleneck < 1 || o.first_channels < 1) {
    throw Error(
        format_text("DenseNet: blocks of [{}] layers, growth {}, bottleneck {}, {} channels "
                    "first: all must be > 0",
                    join_text(o.depths, ", "), o.growth, o.bottleneck, o.first_channels));
  }
}

}  // namespace

DenseNet::DenseNet(const DenseNetOptions& options, Generator& generator) {
  check(options);
  std::int64_t channels = options.first_channels;
  if (options.stem == Stem::imagenet) {
    imagenet_stem_ =
        register_conv_bn("features.conv0", "features.norm0",
                         std::make_shared<ConvBN>(ConvBNOptions{.in_channels = options.in_channels,
                                                                .out_channels = channels,
                                                                .kernel = {7, 7},
                                                                .stride = {2, 2},
                                                                .padding = {3, 3}},
                                                  generator));
  } else {
    cifar_stem_ =
        register_module("features.conv0", plain_conv(options.in_channels, channels, 3, generator));
  }
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    blocks_.push_back(register_module(
        format_text("features.denseblock{}", i + 1),
        std::make_shared<DenseBlock>(channels, options.depths[i], options, generator)));
    channels += options.depths[i] * options.growth;
    if (i + 1 == options.depths.size()) break;
    blocks_.push_back(register_module(format_text("features.transition{}", i + 1),
                                      std::make_shared<Transition>(channels, generator)));
    channels /= 2;
  }
  // The fifth with four blocks; torchvision calls it so in every case.
  norm_ = register_module("features.norm5", batch_norm(channels));
  register_head("classifier", channels, options.classes, generator);

  for (auto& [name, tensor] : named_parameters()) {
    if (tensor.rank() == 4) init::kaiming_normal(tensor, generator, init::Fan::in);
  }
  Tensor bias = head().bias();
  init::zeros(bias);
}

Tensor DenseNet::features(const Tensor& x) {
  Tensor y;
  if (imagenet_stem_) {
    // As in ResNet: the maximum of the rectified is the rectified maximum, and smaller to keep.
    y = relu(
        max_pool2d((*imagenet_stem_)(x), {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}));
  } else {
    y = (*cifar_stem_)(x);
  }
  for (const auto& block : blocks_) y = (*block)(y);
  return (*norm_)(y, true);
}

Tensor DenseNet::forward(const Tensor& x) { return head()(global_avg_pool(features(x))); }

// ---- Named networks ----

namespace {

std::shared_ptr<DenseNet> make_densenet(DenseNetOptions options, const ModelVariant& variant,
                                        Generator& generator) {
  options.stem = variant.stem.value_or(options.stem);
  options.in_channels = variant.in_channels;
  options.classes = variant.classes != 0 ? variant.classes : usual_classes(options.stem);
  return std::make_shared<DenseNet>(options, generator);
}

}  // namespace

std::shared_ptr<DenseNet> densenet121(const ModelVariant& variant, Generator& generator) {
  return make_densenet({.depths = {6, 12, 24, 16}}, variant, generator);
}
std::shared_ptr<DenseNet> densenet169(const ModelVariant& variant, Generator& generator) {
  return make_densenet({.depths = {6, 12, 32, 32}}, variant, generator);
}
std::shared_ptr<DenseNet> densenet201(const ModelVariant& variant, Generator& generator) {
  return make_densenet({.depths = {6, 12, 48, 32}}, variant, generator);
}
std::shared_ptr<DenseNet> densenet_bc100(const ModelVariant& variant, Generator& generator) {
  return make_densenet(
      {.depths = {16, 16, 16}, .growth = 12, .first_channels = 24, .stem = Stem::cifar}, variant,
      generator);
}

}  // namespace attune
