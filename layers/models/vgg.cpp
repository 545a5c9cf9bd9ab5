#include "attune/layers/models/vgg.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/permute.h"
#include "attune/core/ops/pool.h"
#include "attune/core/ops/reshape.h"
#include "attune/core/ops/unary.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

std::shared_ptr<ConvBN> conv3x3(std::int64_t in, std::int64_t out, Generator& generator) {
  return std::make_shared<ConvBN>(ConvBNOptions{.in_channels = in,
                                                .out_channels = out,
                                                .kernel = {3, 3},
                                                .padding = {1, 1},
                                                .bias = true},
                                  generator);
}

// The means of grid x grid equal tiles of x.
Tensor average_to_grid(const Tensor& x, std::int64_t grid) {
  const std::int64_t height = x.size(1), width = x.size(2);
  if (height < grid || width < grid || height % grid != 0 || width % grid != 0) {
    throw Error(format_text("Vgg: the last stage's {} x {} pixels do not divide into {} x {} tiles",
                            height, width, grid, grid));
  }
  if (height == grid && width == grid) return x;
  return avg_pool2d(x, {.window = {height / grid, width / grid}});
}

// Features in PyTorch's order, channels first, so that its classifier's weights fit.
Tensor flatten_channels_first(const Tensor& x) { return flatten(permute(x, {0, 3, 1, 2})); }

void check(const VggOptions& o) {
  bool good = !o.stages.empty() && o.grid > 0 && o.hidden > 0;
  for (const auto& stage : o.stages) good = good && !stage.empty();
  if (!good) {
    throw Error(
        format_text("Vgg: {} stages, a grid of {}, {} hidden features: all must be > 0, "
                    "and no stage empty",
                    o.stages.size(), o.grid, o.hidden));
  }
}

}  // namespace

Vgg::Vgg(const VggOptions& options, Generator& generator) : options_(options) {
  check(options);
  std::int64_t channels = options.in_channels;
  int number = 0;  // PyTorch counts convolution, normalisation, ReLU and pooling
  for (const std::vector<std::int64_t>& widths : options.stages) {
    auto& stage = stages_.emplace_back();
    for (const std::int64_t width : widths) {
      stage.push_back(register_conv_bn(format_text("features.{}", number),
                                       format_text("features.{}", number + 1),
                                       conv3x3(channels, width, generator)));
      channels = width;
      number += 3;
    }
    number += 1;
  }
  const std::int64_t features = channels * options.grid * options.grid;
  const auto linear = [&](std::int64_t in) {
    return std::make_shared<Linear>(
        Linear::Options{.in_features = in, .out_features = options.hidden}, generator);
  };
  fc1_ = register_module("classifier.0", linear(features));
  dropout1_ = register_module("classifier.2", std::make_shared<Dropout>(options.dropout));
  fc2_ = register_module("classifier.3", linear(options.hidden));
  dropout2_ = register_module("classifier.5", std::make_shared<Dropout>(options.dropout));
  register_head("classifier.6", options.hidden, options.classes, generator);

  for (const Linear* layer : {&*fc1_, &*fc2_, &head()}) {
    Tensor weight = layer->weight(), bias = layer->bias();
    init::normal(weight, generator, 0, 0.01);
    init::zeros(bias);
  }
}

Tensor Vgg::features(const Tensor& x) {
  Tensor y = x;
  for (const auto& stage : stages_) {
    for (const auto& conv : stage) {
      const bool last = conv == stage.back();
      y = (*conv)(y, {}, !last);
    }
    // The maximum commutes with the rectifier, whose output, which is kept, is a quarter in this
    // order.
    y = relu(max_pool2d(y, {.window = {2, 2}}));
  }
  return y;
}

Tensor Vgg::forward(const Tensor& x) {
  Tensor y = flatten_channels_first(average_to_grid(features(x), options_.grid));
  y = (*dropout1_)(relu((*fc1_)(y)));
  y = (*dropout2_)(relu((*fc2_)(y)));
  return head()(y);
}

// ---- Named networks ----

namespace {

using Stages = std::vector<std::vector<std::int64_t>>;

std::shared_ptr<Vgg> make_vgg(const Stages& stages, const ModelVariant& variant,
                              Generator& generator) {
  const Stem stem = variant.stem.value_or(Stem::imagenet);
  const bool cifar = stem == Stem::cifar;
  return std::make_shared<Vgg>(
      VggOptions{.stages = stages,
                 .grid = cifar ? 1 : 7,
                 .hidden = cifar ? 512 : 4096,
                 .in_channels = variant.in_channels,
                 .classes = variant.classes != 0 ? variant.classes : usual_classes(stem)},
      generator);
}

}  // namespace

std::shared_ptr<Vgg> vgg11_bn(const ModelVariant& variant, Generator& generator) {
  return make_vgg({{64}, {128}, {256, 256}, {512, 512}, {512, 512}}, variant, generator);
}
std::shared_ptr<Vgg> vgg13_bn(const ModelVariant& variant, Generator& generator) {
  return make_vgg({{64, 64}, {128, 128}, {256, 256}, {512, 512}, {512, 512}}, variant, generator);
}
std::shared_ptr<Vgg> vgg16_bn(const ModelVariant& variant, Generator& generator) {
  return make_vgg({{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}},
                  variant, generator);
}
std::shared_ptr<Vgg> vgg19_bn(const ModelVariant& variant, Generator& generator) {
  return make_vgg(
      {{64, 64}, {128, 128}, {256, 256, 256, 256}, {512, 512, 512, 512}, {512, 512, 512, 512}},
      variant, generator);
}

}  // namespace attune
