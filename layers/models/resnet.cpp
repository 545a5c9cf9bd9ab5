#include "attune/layers/models/resnet.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/pad.h"
#include "attune/core/ops/pool.h"
#include "attune/core/ops/unary.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

constexpr std::int64_t kBottleneckExpansion = 4;

struct BlockOptions {
  std::int64_t in_channels;
  std::int64_t width;   // of the 3x3 convolutions
  std::int64_t groups;  // of a bottleneck's 3x3 convolution
  std::int64_t out_channels;
  std::int64_t stride;
  ResNetShortcut shortcut;
};

ConvBNOptions conv1x1(std::int64_t in, std::int64_t out, std::int64_t stride = 1) {
  return {.in_channels = in, .out_channels = out, .kernel = {1, 1}, .stride = {stride, stride}};
}

ConvBNOptions conv3x3(std::int64_t in, std::int64_t out, std::int64_t stride = 1,
                      std::int64_t groups = 1) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel = {3, 3},
          .stride = {stride, stride},
          .padding = {1, 1},
          .groups = groups};
}

/// relu(branch(x) + shortcut(x)); x [N, H, W, in] -> [N, H / stride, W / stride, out]. The branch
/// begins with conv1.
class Block : public Module {
 protected:
  Block(const BlockOptions& options, const ConvBNOptions& first, Generator& generator)
      : options_(options) {
    conv1_ = register_conv_bn("conv1", "bn1", std::make_shared<ConvBN>(first, generator));
  }

  void on_set_recompute(const Recompute& recompute) override {
    conv1_->recompute_convolution(recompute.blocks);
  }

  // Registered last, so that the order of names is torchvision's.
  void add_shortcut(Generator& generator) {
    const BlockOptions& o = options_;
    changes_shape_ = o.stride != 1 || o.in_channels != o.out_channels;
    if (!changes_shape_ || o.shortcut == ResNetShortcut::pad) return;
    downsample_ = register_conv_bn(
        "downsample.0", "downsample.1",
        std::make_shared<ConvBN>(conv1x1(o.in_channels, o.out_channels, o.stride), generator));
  }

  Tensor shortcut(const Tensor& x) const {
    if (!changes_shape_) return x;
    if (downsample_) return (*downsample_)(x);
    // A window of one pixel subsamples. The new channels go half before, half after the old ones.
    const Tensor pixels = avg_pool2d(
        x, {.window = {1, 1}, .stride = {options_.stride, options_.stride}, .padding = {0, 0}});
    const std::int64_t added = options_.out_channels - options_.in_channels;
    return pad(pixels, {{0, 0}, {0, 0}, {0, 0}, {added / 2, added - added / 2}});
  }

  std::shared_ptr<ConvBN> conv1_;

 private:
  BlockOptions options_;
  bool changes_shape_ = false;
  std::shared_ptr<ConvBN> downsample_;
};

class BasicBlock final : public Block {
 public:
  BasicBlock(const BlockOptions& o, Generator& generator)
      : Block(o, conv3x3(o.in_channels, o.width, o.stride), generator) {
    conv2_ = register_conv_bn(
        "conv2", "bn2", std::make_shared<ConvBN>(conv3x3(o.width, o.out_channels), generator));
    add_shortcut(generator);
  }

  std::string type_name() const override { return "BasicBlock"; }

  Tensor forward(const Tensor& x) override {
    const Tensor y = (*conv1_)(x, {}, true);
    return (*conv2_)(y, shortcut(x), true);
  }

 private:
  std::shared_ptr<ConvBN> conv2_;
};

class Bottleneck final : public Block {
 public:
  Bottleneck(const BlockOptions& o, Generator& generator)
      : Block(o, conv1x1(o.in_channels, o.width), generator) {
    conv2_ = register_conv_bn(
        "conv2", "bn2",
        std::make_shared<ConvBN>(conv3x3(o.width, o.width, o.stride, o.groups), generator));
    conv3_ = register_conv_bn(
        "conv3", "bn3", std::make_shared<ConvBN>(conv1x1(o.width, o.out_channels), generator));
    add_shortcut(generator);
  }

  std::string type_name() const override { return "Bottleneck"; }

  Tensor forward(const Tensor& x) override {
    Tensor y = (*conv1_)(x, {}, true);
    y = (*conv2_)(y, {}, true);
    return (*conv3_)(y, shortcut(x), true);
  }

 private:
  std::shared_ptr<ConvBN> conv2_, conv3_;
};

void check(const ResNetOptions& o) {
  const bool depths_good = !o.depths.empty() && std::all_of(o.depths.begin(), o.depths.end(),
                                                            [](auto depth) { return depth > 0; });
  if (!depths_good || o.width < 1 || o.in_channels < 1 || o.classes < 1) {
    throw Error(format_text(
        "ResNet: stages of [{}] blocks, width {}, {} input channels, {} classes: all must be > 0",
        join_text(o.depths, ", "), o.width, o.in_channels, o.classes));
  }
  const bool grouped = o.groups != 1 || o.group_width != 64;
  if (o.groups < 1 || o.width * o.group_width < 64 || (grouped && o.block == ResNetBlock::basic)) {
    throw Error(
        format_text("ResNet: {} groups of width {} in stages of width {}: only bottlenecks have "
                    "groups, of at least one channel",
                    o.groups, o.group_width, o.width));
  }
}

}  // namespace

ResNet::ResNet(const ResNetOptions& options, Generator& generator) : options_(options) {
  check(options);
  ConvBNOptions stem = conv3x3(options.in_channels, options.width);
  if (options.stem == ResNetStem::imagenet) {
    stem.kernel = {7, 7};
    stem.stride = {2, 2};
    stem.padding = {3, 3};
  }
  conv1_ = register_conv_bn("conv1", "bn1", std::make_shared<ConvBN>(stem, generator));

  const bool bottleneck = options.block == ResNetBlock::bottleneck;
  std::int64_t channels = options.width;
  std::int64_t width = options.width;
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    auto stage = std::make_shared<Sequential>();
    for (std::int64_t depth = 0; depth < options.depths[i]; ++depth) {
      const BlockOptions block{.in_channels = channels,
                               .width = width * options.group_width / 64 * options.groups,
                               .groups = options.groups,
                               .out_channels = bottleneck ? kBottleneckExpansion * width : width,
                               .stride = i > 0 && depth == 0 ? 2 : 1,
                               .shortcut = options.shortcut};
      if (bottleneck) {
        stage->add<Bottleneck>(block, generator);
      } else {
        stage->add<BasicBlock>(block, generator);
      }
      channels = block.out_channels;
    }
    stages_.push_back(register_module(format_text("layer{}", i + 1), stage));
    width *= 2;
  }
  register_head("fc", channels, options.classes, generator);

  if (!options.zero_init_last_gamma) return;
  const std::string last_gamma = bottleneck ? ".bn3.weight" : ".bn2.weight";
  for (auto& [name, tensor] : named_parameters()) {
    if (name.ends_with(last_gamma)) init::zeros(tensor);
  }
}

Tensor ResNet::features(const Tensor& x) {
  Tensor y;
  if (options_.stem == ResNetStem::imagenet) {
    // Values and gradients of max_pool(relu(z)), for the maximum commutes with the rectifier; but
    // here the rectifier's output, which is kept, is the small one.
    y = relu(max_pool2d((*conv1_)(x), {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}));
  } else {
    y = (*conv1_)(x, {}, true);
  }
  for (const auto& stage : stages_) y = (*stage)(y);
  return y;
}

Tensor ResNet::forward(const Tensor& x) { return head()(global_avg_pool(features(x))); }

// ---- Named networks ----

namespace {

struct Named {
  const char* name;
  ResNetBlock block;
  std::vector<std::int64_t> depths;
  std::int64_t groups = 1;
  std::int64_t group_width = 64;
};

const std::vector<Named>& named_networks() {
  static const std::vector<Named> networks{
      {"resnet18", ResNetBlock::basic, {2, 2, 2, 2}},
      {"resnet20", ResNetBlock::basic, {3, 3, 3}},
      {"resnet32", ResNetBlock::basic, {5, 5, 5}},
      {"resnet34", ResNetBlock::basic, {3, 4, 6, 3}},
      {"resnet44", ResNetBlock::basic, {7, 7, 7}},
      {"resnet50", ResNetBlock::bottleneck, {3, 4, 6, 3}},
      {"resnet56", ResNetBlock::basic, {9, 9, 9}},
      {"resnet101", ResNetBlock::bottleneck, {3, 4, 23, 3}},
      {"resnet110", ResNetBlock::basic, {18, 18, 18}},
      {"resnet152", ResNetBlock::bottleneck, {3, 8, 36, 3}},
      {"resnext50_32x4d", ResNetBlock::bottleneck, {3, 4, 6, 3}, 32, 4},
      {"resnext101_32x8d", ResNetBlock::bottleneck, {3, 4, 23, 3}, 32, 8},
      {"wide_resnet50_2", ResNetBlock::bottleneck, {3, 4, 6, 3}, 1, 128},
  };
  return networks;
}

}  // namespace

const std::vector<std::string>& resnet_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Named& network : named_networks()) all.emplace_back(network.name);
    return all;
  }();
  return names;
}

ResNetOptions resnet_options(const std::string& name, const ResNetVariant& variant) {
  const auto& networks = named_networks();
  const auto network = std::find_if(networks.begin(), networks.end(),
                                    [&](const Named& candidate) { return candidate.name == name; });
  if (network == networks.end()) {
    throw Error(
        format_text("resnet: '{}' is not one of {}", name, join_text(resnet_names(), ", ")));
  }
  const bool of_cifar = network->depths.size() == 3;
  const ResNetStem stem =
      variant.stem.value_or(of_cifar ? ResNetStem::cifar : ResNetStem::imagenet);
  return {.block = network->block,
          .depths = network->depths,
          .width = of_cifar ? 16 : 64,
          .groups = network->groups,
          .group_width = network->group_width,
          .stem = stem,
          .shortcut = variant.shortcut,
          .in_channels = variant.in_channels,
          .classes = variant.classes != 0 ? variant.classes : usual_classes(stem),
          .zero_init_last_gamma = variant.zero_init_last_gamma};
}

std::shared_ptr<ResNet> make_resnet(const std::string& name, const ResNetVariant& variant,
                                    Generator& generator) {
  return std::make_shared<ResNet>(resnet_options(name, variant), generator);
}

std::shared_ptr<ResNet> resnet20(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet20", variant, generator);
}
std::shared_ptr<ResNet> resnet32(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet32", variant, generator);
}
std::shared_ptr<ResNet> resnet44(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet44", variant, generator);
}
std::shared_ptr<ResNet> resnet56(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet56", variant, generator);
}
std::shared_ptr<ResNet> resnet110(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet110", variant, generator);
}
std::shared_ptr<ResNet> resnet18(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet18", variant, generator);
}
std::shared_ptr<ResNet> resnet34(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet34", variant, generator);
}
std::shared_ptr<ResNet> resnet50(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet50", variant, generator);
}
std::shared_ptr<ResNet> resnet101(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet101", variant, generator);
}
std::shared_ptr<ResNet> resnet152(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnet152", variant, generator);
}
std::shared_ptr<ResNet> resnext50_32x4d(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnext50_32x4d", variant, generator);
}
std::shared_ptr<ResNet> resnext101_32x8d(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("resnext101_32x8d", variant, generator);
}
std::shared_ptr<ResNet> wide_resnet50_2(const ResNetVariant& variant, Generator& generator) {
  return make_resnet("wide_resnet50_2", variant, generator);
}

}  // namespace attune
