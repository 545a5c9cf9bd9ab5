// The networks in full size: names, shapes and numbers of parameters as torchvision (RepVGG: its
// authors) has them, on Device::meta; and what is special in each family.

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/ops/ops.h"
#include "attune/layers/construct_on.h"
#include "attune/layers/models/densenet.h"
#include "attune/layers/models/make_model.h"
#include "attune/layers/models/mobilenet.h"
#include "attune/layers/models/repvgg.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/models/vgg.h"
#include "tests/golden.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

std::shared_ptr<ImageClassifier> on_meta(const std::string& name,
                                         const ModelVariant& variant = {}) {
  const ConstructOn scope(Device::meta);
  return make_model(name, variant);
}

Tensor meta_images(std::int64_t count, std::int64_t side, std::int64_t channels = 3) {
  return Tensor::empty({count, side, side, channels}, DType::float32, Device::meta);
}

// One of each family, for images of 8x8 pixels; `trained`: with the vectors of a trained one.
std::vector<std::shared_ptr<ImageClassifier>> small_networks(double dropout, Generator& generator,
                                                             bool trained = true) {
  std::vector<std::shared_ptr<ImageClassifier>> nets{
      std::make_shared<Vgg>(
          VggOptions{
              .stages = {{4}, {6, 6}}, .grid = 1, .hidden = 32, .dropout = dropout, .classes = 3},
          generator),
      std::make_shared<MobileNetV2>(
          MobileNetV2Options{.stages = {{.expansion = 2, .channels = 8, .blocks = 2, .stride = 1}},
                             .first_channels = 8,
                             .last_channels = 64,
                             .dropout = dropout,
                             .classes = 3},
          generator),
      std::make_shared<DenseNet>(DenseNetOptions{.depths = {2, 1},
                                                 .growth = 4,
                                                 .first_channels = 8,
                                                 .dropout = dropout,
                                                 .stem = Stem::cifar,
                                                 .classes = 3},
                                 generator),
      std::make_shared<RepVgg>(RepVggOptions{.depths = {2}, .channels = {8}, .classes = 3},
                               generator),
      std::make_shared<ResNet>(ResNetOptions{.block = ResNetBlock::bottleneck,
                                             .depths = {1, 1},
                                             .width = 4,
                                             .groups = 4,
                                             .group_width = 32,
                                             .stem = Stem::cifar,
                                             .classes = 3},
                               generator)};
  for (const auto& net : nets) {
    if (trained) pretend_trained(*net, generator);
  }
  return nets;
}

}  // namespace

TEST_CASE("networks have PyTorch's tensors, in its order", "[models]") {
  int listed = 0;
  const Json golden = read_golden("state_dicts.json");
  for (const auto& [name, described] : golden.items()) {
    INFO(name);
    const auto net = on_meta(name);
    CHECK(net->parameter_count() == described.at("parameters").get<std::int64_t>());
    if (!described.contains("tensors")) continue;
    ++listed;
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected, actual;
    described.at("tensors").get_to(expected);
    for (const auto& [tensor_name, tensor] : net->state_dict()) {
      actual.emplace_back(tensor_name,
                          std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end()));
    }
    CHECK(actual == expected);
  }
  CHECK(listed == 5);  // one of each family
}

TEST_CASE("networks for CIFAR have the known numbers of parameters", "[models]") {
  // The paper's table 2 says 0.8 M; the sum is that of its text.
  CHECK(on_meta("densenet_bc100")->parameter_count() == 769162);
  // The 1000 classes of 1280 features become 10.
  const auto mobilenet = on_meta("mobilenet_v2")->parameter_count();
  CHECK(on_meta("mobilenet_v2", {.stem = Stem::cifar})->parameter_count() ==
        mobilenet - 990 * 1281);
  CHECK(on_meta("mobilenet_v2", {.in_channels = 1})->parameter_count() == mobilenet - 2 * 9 * 32);
}

TEST_CASE("every network computes logits of its classes from large and small images", "[models]") {
  for (const std::string& name : model_names()) {
    INFO(name);
    const Stem stem = usual_stem(name);
    CHECK(on_meta(name)->classes() == usual_classes(stem));
    for (const Stem chosen : {Stem::cifar, Stem::imagenet}) {
      const auto net = on_meta(name, {.classes = 7, .stem = chosen, .in_channels = 4});
      const std::int64_t side = chosen == Stem::cifar ? 32 : 224;
      CHECK((*net)(meta_images(2, side, 4)).shape() == Shape{2, 7});
    }
  }
}

TEST_CASE("an unknown name is refused with those that are known", "[models]") {
  const std::string message = message_of<Error>([] { make_model("vgg16"); });
  CHECK(message.starts_with("make_model: 'vgg16' is not one of resnet18, resnet20, "));
  for (const std::string& name : model_names()) CHECK(message.find(name) != std::string::npos);
  CHECK(message_of<Error>([] { usual_stem(""); }).starts_with("make_model: '' is not one of"));
}

TEST_CASE("impossible options are refused", "[models]") {
  REQUIRE_THROWS_AS(Vgg({.stages = {}}), Error);
  REQUIRE_THROWS_AS(Vgg({.stages = {{8}, {}}}), Error);
  REQUIRE_THROWS_AS(Vgg({.grid = 0}), Error);
  REQUIRE_THROWS_AS(Vgg({.dropout = 1}), Error);
  REQUIRE_THROWS_AS(MobileNetV2({.stages = {}}), Error);
  REQUIRE_THROWS_AS(MobileNetV2({.width = 0}), Error);
  REQUIRE_THROWS_AS(
      MobileNetV2({.stages = {{.expansion = 0, .channels = 8, .blocks = 1, .stride = 1}}}), Error);
  REQUIRE_THROWS_AS(DenseNet({.depths = {2, 0}}), Error);
  REQUIRE_THROWS_AS(DenseNet({.growth = -1}), Error);
  const auto vgg = on_meta("vgg11_bn");
  CHECK(message_of<Error>([&] { (*vgg)(meta_images(1, 256)); }) ==
        "Vgg: the last stage's 8 x 8 pixels do not divide into 7 x 7 tiles");
  REQUIRE_THROWS_AS((*on_meta("vgg11_bn"))(meta_images(1, 96)), Error);
}

TEST_CASE("Vgg averages a larger last stage to its grid", "[models]") {
  Generator generator{1, 0};
  Vgg net({.stages = {{4}}, .grid = 2, .hidden = 5, .dropout = 0, .classes = 3}, generator);
  net.to(DType::float64);
  pretend_trained(net, generator);
  net.set_mode(Mode::eval);
  const Tensor x = random_normal({2, 8, 8, 3}, 0, 1, generator, DType::float64);
  const NamedTensors state = net.state_dict();
  Tensor y = conv2d(x, find(state, "features.0.weight"), find(state, "features.0.bias"),
                    {.padding = {1, 1}});
  y = batch_norm_eval(y, find(state, "features.1.weight"), find(state, "features.1.bias"),
                      find(state, "features.1.running_mean"),
                      find(state, "features.1.running_var"));
  y = avg_pool2d(max_pool2d(relu(y), {}), {.window = {2, 2}});
  y = flatten(permute(y, {0, 3, 1, 2}));
  for (const char* layer : {"classifier.0", "classifier.3", "classifier.6"}) {
    y = linear(y, find(state, std::string(layer) + ".weight"),
               find(state, std::string(layer) + ".bias"));
    if (std::string(layer) != "classifier.6") y = relu(y);
  }
  CHECK(relative_error(net(x), y) <= 1e-12);
}

TEST_CASE("the width of MobileNetV2 rounds channels to multiples of eight", "[models]") {
  const ConstructOn scope(Device::meta);
  const auto channels = [](double width) {
    std::vector<std::int64_t> all;
    const MobileNetV2 net({.width = width});
    for (const auto& [name, tensor] : net.named_parameters()) {
      const bool narrow = name.ends_with(".conv.2.weight") && tensor.rank() == 4;
      if (name == "features.0.0.weight" || narrow || name == "features.18.0.weight") {
        all.push_back(tensor.size(0));
      }
    }
    return all;
  };
  // torchvision.models.mobilenet_v2(width_mult=...): the first, the second block on, the last
  CHECK(channels(1) == std::vector<std::int64_t>{32, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96,
                                                 160, 160, 160, 320, 1280});
  CHECK(channels(0.35) == std::vector<std::int64_t>{16, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32,
                                                    32, 56, 56, 56, 112, 1280});
  CHECK(channels(1.4).front() == 48);
  CHECK(channels(1.4).back() == 1792);
}

TEST_CASE("dropout is where PyTorch has it, and ends with training", "[models]") {
  Generator generator{2, 0};
  const Tensor x = random_normal({2, 8, 8, 3}, 0, 1, generator);
  for (const auto& net : small_networks(0.5, generator)) {
    INFO(net->type_name());
    net->set_mode(Mode::tune);  // a mode says nothing about dropout
    const bool drops = net->type_name() != "RepVgg" && net->type_name() != "ResNet";
    CHECK(((*net)(x).to_vector<float>() != (*net)(x).to_vector<float>()) == drops);
    net->train(false);
    CHECK((*net)(x).to_vector<float>() == (*net)(x).to_vector<float>());
  }
}

TEST_CASE("every family is the same function in Eval, Tune and Deploy, and comes back",
          "[models]") {
  Generator generator{3, 0};
  const Tensor x = random_normal({2, 8, 8, 3}, 0, 1, generator, DType::float64);
  for (const auto& net : small_networks(0, generator)) {
    INFO(net->type_name());
    net->to(DType::float64);
    net->set_mode(Mode::eval);
    const Tensor expected = (*net)(x);
    const auto state_names = names(net->state_dict());
    net->set_mode(Mode::tune);
    CHECK(relative_error((*net)(x), expected) <= 1e-12);
    net->deploy();
    CHECK(relative_error((*net)(x), expected) <= 1e-12);
    CHECK(names(net->state_dict()) != state_names);
    net->undeploy();
    CHECK(names(net->state_dict()) == state_names);
    CHECK(relative_error((*net)(x), expected) <= 1e-11);
  }
}

TEST_CASE("weights begin as in PyTorch", "[models]") {
  Generator generator{4, 0};
  // The deviation of a tensor's elements from 0, relative to what it should be.
  const auto deviation = [](const Module& net, const std::string& name, double expected) {
    double squares = 0;
    const std::vector<double> values = find(net.state_dict(), name).to_vector<double>();
    for (const double value : values) squares += value * value;
    return std::sqrt(squares / static_cast<double>(values.size())) / expected;
  };
  const auto about = [](double ratio) { return ratio > 0.8 && ratio < 1.2; };
  const auto nets = small_networks(0, generator, false);
  const Module &vgg = *nets[0], &mobilenet = *nets[1], &densenet = *nets[2], &repvgg = *nets[3];
  CHECK(about(deviation(vgg, "classifier.0.weight", 0.01)));
  CHECK(deviation(vgg, "classifier.0.bias", 1) == 0);
  CHECK(deviation(vgg, "features.0.bias", 1) == 0);
  CHECK(about(deviation(mobilenet, "classifier.1.weight", 0.01)));
  // He et al.: sqrt(2 / fan). The fan out of a depthwise convolution counts all 16 channels.
  CHECK(about(deviation(mobilenet, "features.1.conv.1.0.weight", std::sqrt(2.0 / (9 * 16)))));
  CHECK(about(deviation(densenet, "features.denseblock1.denselayer1.conv2.weight",
                        std::sqrt(2.0 / (9 * 16)))));
  CHECK(deviation(densenet, "classifier.bias", 1) == 0);
  // Uniform on [-b, b] with b = 1 / sqrt(fan in): b / sqrt(3).
  CHECK(about(deviation(repvgg, "stage1.1.rbr_dense.conv.weight", 1 / std::sqrt(3.0 * (9 * 8)))));
}

TEST_CASE("every family takes a new head", "[models]") {
  for (const char* name : {"vgg11_bn", "mobilenet_v2", "repvgg_a0", "densenet121", "resnet18"}) {
    INFO(name);
    const auto net = on_meta(name);
    const auto before = names(net->state_dict());
    const std::vector<Tensor> old = net->head().parameters();
    net->freeze();
    net->replace_head(3);
    CHECK(names(net->state_dict()) == before);  // the head stands last in all of them
    CHECK(net->classes() == 3);
    for (const Tensor& parameter : old) CHECK(parameter.retired());
    for (const auto& [tensor_name, tensor] : net->named_parameters()) {
      CHECK(tensor.requires_grad() == tensor_name.starts_with(net->head().path() + "."));
    }
    const std::int64_t side = 224;
    CHECK((*net)(meta_images(1, side)).shape() == Shape{1, 3});
  }
}

TEST_CASE("the classifier of every family but VGG looks at the mean of the features", "[models]") {
  Generator generator{.seed = 11};
  const Tensor x = random_normal({2, 16, 8, 3}, 0, 1, generator);
  for (const auto& net : small_networks(0, generator)) {
    INFO(net->type_name());
    net->set_mode(Mode::eval);
    const Tensor features = net->features(x);
    REQUIRE(features.rank() == 4);
    CHECK(features.size(0) == 2);
    CHECK(features.size(1) == 2 * features.size(2));
    if (net->type_name() == "Vgg") continue;  // it has three linear layers
    CHECK(net->head()(global_avg_pool(features)).to_vector<float>() ==
          (*net)(x).to_vector<float>());
  }
}
