#include "attune/layers/models/mobilenet.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/pool.h"
#include "attune/core/ops/unary.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

constexpr std::int64_t kChannelMultiple = 8;

std::shared_ptr<ConvBN> conv1x1(std::int64_t in, std::int64_t out, Generator& generator) {
  return std::make_shared<ConvBN>(
      ConvBNOptions{.in_channels = in, .out_channels = out, .kernel = {1, 1}}, generator);
}

std::shared_ptr<ConvBN> conv3x3(std::int64_t in, std::int64_t out, std::int64_t stride,
                                std::int64_t groups, Generator& generator) {
  return std::make_shared<ConvBN>(ConvBNOptions{.in_channels = in,
                                                .out_channels = out,
                                                .kernel = {3, 3},
                                                .stride = {stride, stride},
                                                .padding = {1, 1},
                                                .groups = groups},
                                  generator);
}

std::shared_ptr<ConvBN> depthwise3x3(std::int64_t channels, std::int64_t stride,
                                     Generator& generator) {
  return conv3x3(channels, channels, stride, channels, generator);
}

/// Widens, convolves channel by channel, and narrows: the shortcut joins the narrow ends (figure
/// 4d). Where the channels are few a rectifier would lose too much, so none follows the last
/// convolution (section 3.2). x [N, H, W, in] -> [N, H / stride, W / stride, out].
class InvertedResidual final : public Module {
 public:
  struct Options {
    std::int64_t in_channels, out_channels, expansion, stride;
  };

  InvertedResidual(const Options& o, Generator& generator)
      : has_shortcut_(o.stride == 1 && o.in_channels == o.out_channels) {
    const std::int64_t wide = o.in_channels * o.expansion;
    int number = 0;
    // PyTorch's convolutions with a rectifier are Sequentials of their own, the last one is not.
    const auto activated = [&](std::shared_ptr<ConvBN> conv_bn) {
      const std::string name = format_text("conv.{}", number++);
      return register_conv_bn(name + ".0", name + ".1", std::move(conv_bn));
    };
    if (o.expansion != 1) expand_ = activated(conv1x1(o.in_channels, wide, generator));
    depthwise_ = activated(depthwise3x3(wide, o.stride, generator));
    project_ = register_conv_bn(format_text("conv.{}", number), format_text("conv.{}", number + 1),
                                conv1x1(wide, o.out_channels, generator));
  }

  std::string type_name() const override { return "InvertedResidual"; }

  Tensor forward(const Tensor& x) override {
    Tensor y = expand_ ? relu6((*expand_)(x)) : x;
    y = relu6((*depthwise_)(y));
    return (*project_)(y, has_shortcut_ ? x : Tensor(), false);
  }

 private:
  bool has_shortcut_;
  std::shared_ptr<ConvBN> expand_, depthwise_, project_;
};

std::int64_t scaled(std::int64_t channels, double width) {
  const double wanted = static_cast<double>(channels) * width;
  const auto eighths = static_cast<std::int64_t>(wanted + kChannelMultiple / 2.0);
  const std::int64_t rounded =
      std::max(kChannelMultiple, eighths / kChannelMultiple * kChannelMultiple);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + kChannelMultiple : rounded;
}

void check(const MobileNetV2Options& o) {
  bool good = !o.stages.empty() && o.first_channels > 0 && o.last_channels > 0 && o.width > 0;
  for (const MobileNetV2Options::Stage& stage : o.stages) {
    good =
        good && stage.expansion > 0 && stage.channels > 0 && stage.blocks > 0 && stage.stride > 0;
  }
  if (!good) {
    throw Error(
        format_text("MobileNetV2: {} stages, {} channels first, {} last, width {}: all, and "
                    "all of each stage, must be > 0",
                    o.stages.size(), o.first_channels, o.last_channels, o.width));
  }
}

}  // namespace

MobileNetV2::MobileNetV2(const MobileNetV2Options& options, Generator& generator) {
  check(options);
  // For small images, the first two halvings are left out.
  int gentle = options.stem == Stem::cifar ? 2 : 0;
  const auto stride_of = [&](std::int64_t stride) {
    return stride > 1 && gentle-- > 0 ? std::int64_t{1} : stride;
  };
  std::int64_t channels = scaled(options.first_channels, options.width);
  first_ = register_conv_bn("features.0.0", "features.0.1",
                            conv3x3(options.in_channels, channels, stride_of(2), 1, generator));
  int number = 1;
  for (const MobileNetV2Options::Stage& stage : options.stages) {
    for (std::int64_t i = 0; i < stage.blocks; ++i) {
      const InvertedResidual::Options block{.in_channels = channels,
                                            .out_channels = scaled(stage.channels, options.width),
                                            .expansion = stage.expansion,
                                            .stride = i == 0 ? stride_of(stage.stride) : 1};
      blocks_.push_back(register_module(format_text("features.{}", number++),
                                        std::make_shared<InvertedResidual>(block, generator)));
      channels = block.out_channels;
    }
  }
  const std::int64_t features = scaled(options.last_channels, std::max(1.0, options.width));
  const std::string last = format_text("features.{}", number);
  last_ = register_conv_bn(last + ".0", last + ".1", conv1x1(channels, features, generator));
  dropout_ = register_module("classifier.0", std::make_shared<Dropout>(options.dropout));
  register_head("classifier.1", features, options.classes, generator);

  Tensor weight = head().weight(), bias = head().bias();
  init::normal(weight, generator, 0, 0.01);
  init::zeros(bias);
}

Tensor MobileNetV2::features(const Tensor& x) {
  Tensor y = relu6((*first_)(x));
  for (const auto& block : blocks_) y = (*block)(y);
  return relu6((*last_)(y));
}

Tensor MobileNetV2::forward(const Tensor& x) {
  return head()((*dropout_)(global_avg_pool(features(x))));
}

std::shared_ptr<MobileNetV2> mobilenet_v2(const ModelVariant& variant, Generator& generator) {
  const Stem stem = variant.stem.value_or(Stem::imagenet);
  return std::make_shared<MobileNetV2>(
      MobileNetV2Options{.stem = stem,
                         .in_channels = variant.in_channels,
                         .classes = variant.classes != 0 ? variant.classes : usual_classes(stem)},
      generator);
}

}  // namespace attune
