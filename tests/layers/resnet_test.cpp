// Architecture and names, checked against what the paper and torchvision say, and the forward pass
// against one made of unfused operations.

#include "attune/layers/models/resnet.h"

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/ops/ops.h"
#include "attune/layers/construct_on.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

using Names = std::vector<std::string>;

// The names of torchvision's networks, in its order.
Names torchvision_names(const std::vector<int>& depths, bool bottleneck) {
  Names all;
  const auto conv_bn = [&](const std::string& prefix, const std::string& conv,
                           const std::string& bn) {
    all.push_back(prefix + conv + ".weight");
    for (const char* name :
         {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
      all.push_back(prefix + bn + "." + name);
    }
  };
  // torchvision lists a block's tensors module by module, and each module's parameters first; a
  // ConvBN is one module here, so the order is the same.
  conv_bn("", "conv1", "bn1");
  for (std::size_t stage = 1; stage <= depths.size(); ++stage) {
    for (int block = 0; block < depths[stage - 1]; ++block) {
      const std::string prefix =
          "layer" + std::to_string(stage) + "." + std::to_string(block) + ".";
      conv_bn(prefix, "conv1", "bn1");
      conv_bn(prefix, "conv2", "bn2");
      if (bottleneck) conv_bn(prefix, "conv3", "bn3");
      if (block == 0 && (stage > 1 || bottleneck)) conv_bn(prefix, "downsample.0", "downsample.1");
    }
  }
  all.push_back("fc.weight");
  all.push_back("fc.bias");
  return all;
}

Tensor on_meta(const Shape& shape) { return Tensor::empty(shape, DType::float32, Device::meta); }

std::shared_ptr<ResNet> resnet_on_meta(const std::string& name, const ResNetVariant& variant = {}) {
  const ConstructOn scope(Device::meta);
  return make_resnet(name, variant);
}

Names state_names(const std::string& name, const ResNetVariant& variant = {}) {
  return names(resnet_on_meta(name, variant)->state_dict());
}

std::int64_t parameters(const std::string& name, const ResNetVariant& variant = {}) {
  return resnet_on_meta(name, variant)->parameter_count();
}

// ---- The forward pass again, one operation at a time ----

struct Reference {
  const NamedTensors state;
  const ResNetOptions& options;

  Tensor conv_bn(const Tensor& x, const std::string& conv, const std::string& bn,
                 std::int64_t stride, std::int64_t padding) const {
    const Tensor y = conv2d(x, find(state, conv + ".weight"), {},
                            {.stride = {stride, stride}, .padding = {padding, padding}});
    return batch_norm_eval(y, find(state, bn + ".weight"), find(state, bn + ".bias"),
                           find(state, bn + ".running_mean"), find(state, bn + ".running_var"));
  }

  // Option A, element by element.
  static Tensor pad_shortcut(const Tensor& x, const Shape& shape) {
    const std::vector<double> elements = x.to_vector<double>();
    std::vector<double> y(static_cast<std::size_t>(shape.count()));
    const std::int64_t before = (shape[3] - x.size(3)) / 2;
    const std::int64_t stride = x.size(1) / shape[1];
    for (std::int64_t i = 0; i < std::ssize(y); ++i) {
      const std::int64_t c = i % shape[3] - before;
      const std::int64_t q = i / shape[3] % shape[2];
      const std::int64_t p = i / shape[3] / shape[2] % shape[1];
      const std::int64_t n = i / shape[3] / shape[2] / shape[1];
      if (c < 0 || c >= x.size(3)) continue;
      const std::int64_t from =
          ((n * x.size(1) + p * stride) * x.size(2) + q * stride) * x.size(3) + c;
      y[static_cast<std::size_t>(i)] = elements.at(static_cast<std::size_t>(from));
    }
    return Tensor::from(y, shape);
  }

  Tensor block(const Tensor& x, const std::string& name, std::int64_t stride) const {
    Tensor y;
    if (options.block == ResNetBlock::bottleneck) {
      y = relu(conv_bn(x, name + "conv1", name + "bn1", 1, 0));
      y = relu(conv_bn(y, name + "conv2", name + "bn2", stride, 1));
      y = conv_bn(y, name + "conv3", name + "bn3", 1, 0);
    } else {
      y = relu(conv_bn(x, name + "conv1", name + "bn1", stride, 1));
      y = conv_bn(y, name + "conv2", name + "bn2", 1, 1);
    }
    if (y.shape() == x.shape()) return relu(y + x);
    if (options.shortcut == ResNetShortcut::pad) return relu(y + pad_shortcut(x, y.shape()));
    return relu(y + conv_bn(x, name + "downsample.0", name + "downsample.1", stride, 0));
  }

  Tensor forward(const Tensor& x) const {
    Tensor y;
    if (options.stem == ResNetStem::imagenet) {
      y = relu(conv_bn(x, "conv1", "bn1", 2, 3));
      y = max_pool2d(y, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
    } else {
      y = relu(conv_bn(x, "conv1", "bn1", 1, 1));
    }
    for (std::size_t stage = 0; stage < options.depths.size(); ++stage) {
      for (std::int64_t i = 0; i < options.depths[stage]; ++i) {
        const std::string name =
            "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
        y = block(y, name, stage > 0 && i == 0 ? 2 : 1);
      }
    }
    y = mean(y, {1, 2});
    return linear(y, find(state, "fc.weight"), find(state, "fc.bias"));
  }
};

}  // namespace

TEST_CASE("tensors are named as in torchvision", "[resnet]") {
  CHECK(state_names("resnet18") == torchvision_names({2, 2, 2, 2}, false));
  CHECK(state_names("resnet50") == torchvision_names({3, 4, 6, 3}, true));
  CHECK(state_names("resnet18").size() == 122);
  CHECK(state_names("resnet34").size() == 218);
  CHECK(state_names("resnet50").size() == 320);
  // Option A has no tensors. 19 convolutions with 5 vectors or scalars each, and the classifier.
  const Names pad = state_names("resnet20", {.shortcut = ResNetShortcut::pad});
  CHECK(pad.size() == 19 * 6 + 2);
  for (const std::string& name : pad) CHECK(name.find("downsample") == std::string::npos);
}

TEST_CASE("networks have the known numbers of parameters", "[resnet]") {
  const ResNetVariant pad{.shortcut = ResNetShortcut::pad};
  CHECK(parameters("resnet20", pad) == 269722);
  CHECK(parameters("resnet32", pad) == 464154);
  CHECK(parameters("resnet44", pad) == 658586);
  CHECK(parameters("resnet56", pad) == 853018);
  CHECK(parameters("resnet110", pad) == 1727962);
  CHECK(parameters("resnet20") == 269722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64);
  CHECK(parameters("resnet18") == 11689512);
  CHECK(parameters("resnet34") == 21797672);
  CHECK(parameters("resnet50") == 25557032);
  CHECK(parameters("resnet101") == 44549160);
  CHECK(parameters("resnet18", {.stem = ResNetStem::cifar}) == 11173962);
  CHECK(parameters("resnet20", {.classes = 100}) == parameters("resnet20") + 90 * 65);
  CHECK(parameters("resnet20", {.in_channels = 1}) == parameters("resnet20") - 2 * 9 * 16);
}

TEST_CASE("every network computes logits of its classes", "[resnet]") {
  for (const std::string& name : resnet_names()) {
    for (const ResNetStem stem : {ResNetStem::cifar, ResNetStem::imagenet}) {
      const auto net = resnet_on_meta(name, {.classes = 7, .stem = stem});
      const std::int64_t side = stem == ResNetStem::cifar ? 32 : 224;
      CHECK((*net)(on_meta({2, side, side, 3})).shape() == Shape{2, 7});
    }
  }
  CHECK(resnet_options("resnet20").classes == 10);
  CHECK(resnet_options("resnet50").classes == 1000);
  CHECK(resnet_options("resnet50", {.stem = ResNetStem::cifar}).classes == 10);
}

TEST_CASE("each named function makes the network of its name", "[resnet]") {
  const ConstructOn scope(Device::meta);
  using Function = std::shared_ptr<ResNet> (*)(const ResNetVariant&, Generator&);
  const std::vector<std::pair<std::string, Function>> functions{
      {"resnet18", resnet18}, {"resnet20", resnet20},   {"resnet32", resnet32},
      {"resnet34", resnet34}, {"resnet44", resnet44},   {"resnet50", resnet50},
      {"resnet56", resnet56}, {"resnet101", resnet101}, {"resnet110", resnet110}};
  for (const auto& [name, function] : functions) {
    Generator generator;
    CHECK(function({.classes = 3}, generator)->parameter_count() ==
          make_resnet(name, {.classes = 3})->parameter_count());
  }
}

TEST_CASE("unknown networks and impossible options are refused", "[resnet]") {
  CHECK(message_of<Error>([] { make_resnet("resnet21"); }) ==
        "resnet: 'resnet21' is not one of resnet18, resnet20, resnet32, resnet34, resnet44, "
        "resnet50, resnet56, resnet101, resnet110, resnet152, resnext50_32x4d, resnext101_32x8d, "
        "wide_resnet50_2");
  REQUIRE_THROWS_AS(ResNet({.depths = {}}), Error);
  REQUIRE_THROWS_AS(ResNet({.depths = {2, 0}}), Error);
  REQUIRE_THROWS_AS(ResNet({.width = 0}), Error);
  REQUIRE_THROWS_AS(ResNet({.classes = -1}), Error);
  REQUIRE_THROWS_AS((*resnet20())(Tensor::ones({1, 32, 32, 1})), Error);
  REQUIRE_THROWS_AS(resnet20()->replace_head(0), Error);
}

TEST_CASE("the network is the composition that the paper draws", "[resnet]") {
  Generator generator{1, 0};
  for (const ResNetBlock block : {ResNetBlock::basic, ResNetBlock::bottleneck}) {
    for (const ResNetShortcut shortcut : {ResNetShortcut::pad, ResNetShortcut::projection}) {
      for (const ResNetStem stem : {ResNetStem::cifar, ResNetStem::imagenet}) {
        ResNet net({.block = block,
                    .depths = {2, 1, 1},
                    .width = 3,
                    .stem = stem,
                    .shortcut = shortcut,
                    .classes = 5},
                   generator);
        net.to(DType::float64);
        pretend_trained(net, generator);
        const std::int64_t side = stem == ResNetStem::cifar ? 12 : 48;
        const Tensor x = random_normal({2, side, side, 3}, 0, 1, generator, DType::float64);
        const Tensor expected = Reference{net.state_dict(), net.options()}.forward(x);
        for (const Mode mode : {Mode::eval, Mode::tune}) {
          net.set_mode(mode);
          CHECK(relative_error(net(x), expected) <= 1e-12);
        }
        net.deploy();
        CHECK(relative_error(net(x), expected) <= 1e-12);
      }
    }
  }
}

TEST_CASE("blocks can begin as the identity", "[resnet]") {
  for (const char* name : {"resnet20", "resnet50"}) {
    const bool bottleneck = std::string(name) == "resnet50";
    ResNetOptions options = resnet_options(name, {.zero_init_last_gamma = true});
    options.width = 4;
    const ResNet net(options);
    const std::string last = bottleneck ? ".bn3.weight" : ".bn2.weight";
    std::int64_t zeroed = 0;
    for (const auto& [tensor_name, tensor] : net.named_parameters()) {
      if (tensor.rank() != 1 || !tensor_name.ends_with(".weight")) continue;
      const float expected = tensor_name.ends_with(last) ? 0 : 1;
      zeroed += expected == 0;
      for (const float gamma : tensor.to_vector<float>()) CHECK(gamma == expected);
      CHECK(tensor.requires_grad());
    }
    CHECK(zeroed == (bottleneck ? 16 : 9));
  }
}

TEST_CASE("a new head is trained where all else is frozen", "[resnet]") {
  Generator generator{2, 0};
  const auto net = resnet20({}, generator);
  net->to(DType::float64);
  net->freeze();
  const std::vector<Tensor> old = net->head().parameters();
  const Names before = names(net->state_dict());
  net->replace_head(3, generator);
  CHECK(names(net->state_dict()) == before);
  CHECK(net->classes() == 3);
  CHECK(net->head().path() == "fc");
  CHECK(net->head().weight().shape() == Shape{3, 64});
  for (const Tensor& parameter : old) CHECK(parameter.retired());

  const Tensor x = random_normal({2, 32, 32, 3}, 0, 1, generator, DType::float64);
  const Tensor y = (*net)(x);
  CHECK(y.shape() == Shape{2, 3});
  sum(y).backward();
  for (const auto& [name, tensor] : net->named_parameters()) {
    CHECK(tensor.grad().defined() == name.starts_with("fc."));
  }
}

TEST_CASE("nodes are labelled with the layers that recorded them", "[resnet]") {
  const auto net = resnet_on_meta("resnet20");
  std::set<std::string> labels;
  std::vector<std::shared_ptr<AutogradMeta>> pending{
      (*net)(on_meta({1, 32, 32, 3})).autograd_meta()};
  std::set<const AutogradMeta*> seen;
  while (!pending.empty()) {
    const auto meta = pending.back();
    pending.pop_back();
    if (!meta || !meta->producer || !seen.insert(meta.get()).second) continue;
    labels.insert(meta->producer->label());
    for (const auto& input : meta->producer->inputs()) pending.push_back(input);
  }
  CHECK(labels.contains("conv1"));
  CHECK(labels.contains("layer1.0.conv2"));
  CHECK(labels.contains("layer2.0.downsample.0"));
  CHECK(labels.contains("layer3.2.conv1"));
  CHECK(labels.contains("fc"));
  CHECK(labels.size() == 1 + 18 + 2 + 1 + 1);  // the stem, blocks, shortcuts, head, and the pooling
}
