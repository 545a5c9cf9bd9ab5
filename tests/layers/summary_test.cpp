#include "attune/layers/summary.h"

#include <memory>
#include <string>
#include <vector>

#include "attune/layers/construct_on.h"
#include "attune/layers/dropout.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/relu.h"
#include "attune/layers/sequential.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

// Multiply-adds of the convolutions and the classifier for one image.
std::int64_t multiply_adds(const std::string& name, const ResNetVariant& variant,
                           std::int64_t side) {
  const ConstructOn scope(Device::meta);
  return summarize(*make_resnet(name, variant), {1, side, side, 3}).flops / 2;
}

}  // namespace

TEST_CASE("a summary counts what the literature counts", "[summary]") {
  // ImageNet, 224 x 224: 1.8, 3.6, 4.1 and 7.8 thousand million multiply-adds.
  CHECK(multiply_adds("resnet18", {}, 224) == 1814073344);
  CHECK(multiply_adds("resnet34", {}, 224) == 3663761408);
  CHECK(multiply_adds("resnet50", {}, 224) == 4089184256);
  CHECK(multiply_adds("resnet101", {}, 224) == 7801405440);
  // By hand: the stem; three stages of six 3x3 convolutions, all of one cost but the first of the
  // second and third stage, which have half the input channels; the classifier. Option A is free.
  const std::int64_t convolution = 32 * 32 * 16 * 9 * 16;
  CHECK(multiply_adds("resnet20", {.shortcut = ResNetShortcut::pad}, 32) ==
        32 * 32 * 16 * 9 * 3 + 16 * convolution + 2 * convolution / 2 + 640);
}

TEST_CASE("a summary has a row for each layer in the order of the calls", "[summary]") {
  const auto net = [] {
    const ConstructOn scope(Device::meta);
    return resnet18();
  }();
  net->head().freeze();
  const Summary summary = summarize(*net, {2, 224, 224, 3});
  REQUIRE(summary.rows.size() == 21);  // 20 convolutions and the classifier
  const Summary::Row& stem = summary.rows.front();
  CHECK(stem.name == "conv1");
  CHECK(stem.type == "ConvBN");
  CHECK(stem.output == Shape{2, 112, 112, 64});
  CHECK(stem.parameters == 7 * 7 * 3 * 64 + 2 * 64);
  CHECK(stem.flops == 2 * 2 * 112 * 112 * 64 * 7 * 7 * 3);
  CHECK(summary.rows[1].name == "layer1.0.conv1");
  CHECK(summary.rows.back().name == "fc");
  CHECK(summary.rows.back().output == Shape{2, 1000});
  CHECK(summary.parameters == 11689512);
  CHECK(summary.trainable_parameters == 11689512 - 513000);
  std::int64_t parameters = 0, flops = 0;
  for (const Summary::Row& row : summary.rows) {
    parameters += row.parameters;
    flops += row.flops;
  }
  CHECK(parameters == summary.parameters);
  CHECK(flops == summary.flops);
}

TEST_CASE("a layer that is called twice counts its parameters once", "[summary]") {
  class Twice final : public Module {
   public:
    Twice() : layer_(register_module("layer", std::make_shared<Linear>(Linear::Options{3, 3}))) {}
    Tensor forward(const Tensor& x) override { return (*layer_)((*layer_)(x)); }

   private:
    std::shared_ptr<Linear> layer_;
  } net;
  const Summary summary = summarize(net, {5, 3});
  REQUIRE(summary.rows.size() == 2);
  CHECK(summary.rows[0].parameters == 12);
  CHECK(summary.rows[1].parameters == 0);
  CHECK(summary.flops == 2 * 2 * 5 * 3 * 3);
  CHECK(summary.parameters == 12);
}

TEST_CASE("a summary leaves no trace", "[summary]") {
  Generator generator{1, 0};
  const auto net = std::make_shared<Sequential>();
  net->add(resnet20({}, generator));
  const auto dropout = net->add<Dropout>(0.5, &generator);
  net->train(false);
  dropout->train();
  const Tensor x = random_normal({2, 32, 32, 3}, 0, 1, generator);
  (*net)(x);  // Train: the running statistics have moved
  const auto values = all_values(net->state_dict());
  const NamedTensors before = net->state_dict();
  const std::vector<Tensor> parameters = net->parameters();
  std::vector<std::uint64_t> versions;
  for (const auto& [name, tensor] : before) versions.push_back(tensor.storage().version());
  const std::int64_t on_meta = memory_stats(Device::meta).total.live;
  const std::uint64_t uses = generator.uses;

  summarize(*net, {64, 32, 32, 3});

  const NamedTensors after = net->state_dict();
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(after[i].second.shared_storage() == before[i].second.shared_storage());
    CHECK(after[i].second.storage().version() == versions[i]);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    CHECK(net->parameters()[i].autograd_meta() == parameters[i].autograd_meta());
    CHECK(!parameters[i].retired());
  }
  CHECK(all_values(net->state_dict()) == values);
  CHECK(generator.uses == uses);
  CHECK(dropout->training());
  CHECK(!(*net)[0]->training());
  CHECK(memory_stats(Device::meta).total.live == on_meta);

  // Nor does one that fails.
  REQUIRE_THROWS_AS(summarize(*net, {64, 32, 32, 4}), Error);
  CHECK(net->parameters()[0].device() == test_device());
  CHECK(all_values(net->state_dict()) == values);
}

TEST_CASE("a summary works in every mode and dtype", "[summary]") {
  const auto net = resnet20();
  net->to(DType::float64);
  const std::int64_t flops = summarize(*net, {1, 32, 32, 3}).flops;
  for (const Mode mode : {Mode::eval, Mode::tune}) {
    net->set_mode(mode);
    CHECK(summarize(*net, {1, 32, 32, 3}).flops == flops);
  }
  const std::int64_t channels = 16 + 6 * (16 + 32 + 64) + 32 + 64;
  const std::int64_t parameters = net->parameter_count();
  net->deploy();
  const Summary summary = summarize(*net, {1, 32, 32, 3});
  CHECK(summary.flops == flops);
  CHECK(summary.parameters == parameters - channels);  // a bias instead of gamma and beta
}

TEST_CASE("a summary is printed as a table", "[summary]") {
  Sequential net;
  net.add<Linear>(Linear::Options{.in_features = 1000, .out_features = 20});
  net.add<ReLU>();
  CHECK(to_string(summarize(net, {1, 1000})) ==
        "layer  type    output      parameters              FLOPs\n"
        "--------------------------------------------------------\n"
        "0      Linear  [1, 20]         20,020             40,000\n"
        "1      ReLU    [1, 20]              0                  0\n"
        "--------------------------------------------------------\n"
        "total                          20,020             40,000\n"
        "input [1, 1000]; a multiply-add counts as two FLOPs\n");
}
