// What backward computes again instead of having it kept: the same bits, and fewer bytes.

#include "attune/layers/recompute.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/models/resnet.h"
#include "attune/optim/sgd.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

constexpr std::array<Mode, 4> kModes{Mode::train, Mode::eval, Mode::tune, Mode::deploy};
constexpr std::array<Recompute, 3> kChoices{
    {{.activations = true}, {.blocks = true}, {.activations = true, .blocks = true}}};

void set_mode(Module& module, Mode mode) {
  if (mode == Mode::deploy) {
    module.deploy();
  } else {
    module.set_mode(mode);
  }
}

using Values = std::vector<std::vector<double>>;

// Two steps of training: each step's loss and gradients, then the parameters and buffers.
Values train(const ResNetOptions& options, Mode mode, DType dtype, const Recompute& recompute,
             const std::string& frozen = "") {
  Generator generator{7, 0};
  ResNet net(options, generator);
  pretend_trained(net, generator);
  net.to(dtype);
  set_mode(net, mode);
  net.set_recompute(recompute);
  std::vector<Tensor> trained;
  for (auto& [name, parameter] : net.named_parameters()) {
    const bool freeze = !frozen.empty() && name.find(frozen) != std::string::npos;
    parameter.set_requires_grad(!freeze);
    if (!freeze) trained.push_back(parameter);
  }
  const std::int64_t size = options.stem == ResNetStem::imagenet ? 32 : 12;
  const Tensor images = random_normal({3, size, size, 3}, 0, 1, generator, dtype);
  const Tensor labels = Tensor::from(std::vector<std::int64_t>{0, 1, 2}, {3});
  Sgd optimizer(trained, {.lr = 1e-3, .momentum = 0.9});
  Values values;
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    const Tensor loss = softmax_cross_entropy(net(images), labels);
    values.push_back({loss.item()});
    loss.backward();
    for (const Tensor& parameter : trained) {
      values.push_back(parameter.grad().to_vector<double>());
    }
    optimizer.step();
  }
  for (const auto& [name, tensor] : net.state_dict()) values.push_back(tensor.to_vector<double>());
  return values;
}

ResNetOptions small_net(ResNetBlock block, ResNetStem stem, ResNetShortcut shortcut) {
  return {.block = block,
          .depths = {2, 1},
          .width = 16,  // wide enough for every way a convolution is computed
          .stem = stem,
          .shortcut = shortcut,
          .classes = 4};
}

}  // namespace

TEST_CASE("recomputing changes no bit of a training, in any mode", "[recompute]") {
  for (const ResNetBlock block : {ResNetBlock::basic, ResNetBlock::bottleneck}) {
    for (const ResNetStem stem : {ResNetStem::cifar, ResNetStem::imagenet}) {
      const auto shortcut =
          stem == ResNetStem::cifar ? ResNetShortcut::pad : ResNetShortcut::projection;
      const ResNetOptions options = small_net(block, stem, shortcut);
      for (const DType dtype : {DType::float32, DType::float64}) {
        for (const Mode mode : kModes) {
          const Values kept = train(options, mode, dtype, {});
          for (const Recompute& recompute : kChoices) {
            INFO(to_string(mode) << ", " << to_string(recompute) << ", " << to_string(dtype));
            CHECK(train(options, mode, dtype, recompute) == kept);
          }
        }
      }
    }
  }
}

TEST_CASE("recomputing changes no bit where parameters are frozen", "[recompute]") {
  const ResNetOptions options =
      small_net(ResNetBlock::bottleneck, ResNetStem::cifar, ResNetShortcut::projection);
  for (const char* frozen : {"conv1.weight", "bn1", "conv2.weight", ".bn", "layer1", "bias"}) {
    for (const Mode mode : {Mode::train, Mode::eval, Mode::tune}) {
      const Values kept = train(options, mode, DType::float32, {}, frozen);
      for (const Recompute& recompute : kChoices) {
        INFO(frozen << " frozen, " << to_string(mode) << ", " << to_string(recompute));
        CHECK(train(options, mode, DType::float32, recompute, frozen) == kept);
      }
    }
  }
}

TEST_CASE("recomputing changes no bit of any kind of ConvBN", "[recompute]") {
  const ConvBNOptions plain{.in_channels = 4, .out_channels = 4, .padding = {1, 1}};
  std::vector<ConvBNOptions> variants(7, plain);
  variants[1].bias = true;
  variants[2].affine = false;
  variants[3].groups = 2;
  variants[4].groups = 4;
  variants[5].dilation = {2, 1};
  variants[6].transposed = true;
  for (const ConvBNOptions& options : variants) {
    for (const Mode mode : kModes) {
      const auto gradients = [&](bool relu, bool activations, bool convolution) {
        Generator generator{9, 0};
        const auto first = std::make_shared<ConvBN>(options, generator);
        ConvBN second(plain, generator);
        for (ConvBN* layer : {first.get(), &second}) {
          pretend_trained(*layer, generator);
          set_mode(*layer, mode);
          layer->set_recompute({.activations = activations});
        }
        first->recompute_convolution(convolution);
        Tensor x = random_normal({2, 6, 5, 4}, 0, 1, generator).set_requires_grad();
        const Tensor hidden = (*first)(x, {}, relu);
        const Tensor twice = second(second(hidden, {}, true), hidden, true);
        twice.backward(random_normal(twice.shape(), 0, 1, generator));
        Values values{twice.to_vector<double>(), x.grad().to_vector<double>()};
        for (const auto& layer : {first->parameters(), second.parameters()}) {
          for (const Tensor& parameter : layer) {
            if (!parameter.requires_grad()) continue;  // b' where neither b, gamma nor beta exist
            values.push_back(parameter.grad().to_vector<double>());
          }
        }
        values.push_back(all_values(first->named_buffers()));
        values.push_back(all_values(second.named_buffers()));
        return values;
      };
      for (const bool relu : {true, false}) {
        INFO(to_string(mode) << (relu ? ", relu" : ""));
        const Values kept = gradients(relu, false, false);
        CHECK(gradients(relu, true, false) == kept);
        CHECK(gradients(relu, false, true) == kept);
        CHECK(gradients(relu, true, true) == kept);
      }
    }
  }
}

TEST_CASE("a chain of two ConvBNs keeps the bytes that recomputing leaves", "[recompute][memory]") {
  const Tensor x = Tensor::ones({2, 6, 6, 4});
  const std::int64_t image = x.bytes();             // of every tensor here
  const std::int64_t statistics = 2 * (2 * 4 * 4);  // mean and 1 / sigma of both layers
  const auto saved = [&](Mode mode, bool activations, bool convolution, bool freeze_first) {
    const ConvBNOptions options{.in_channels = 4, .out_channels = 4, .padding = {1, 1}};
    ConvBN first(options), second(options);
    for (ConvBN* layer : {&first, &second}) {
      set_mode(*layer, mode);
      layer->set_recompute({.activations = activations});
    }
    first.recompute_convolution(convolution);
    if (freeze_first) first.freeze();
    Tensor input = x.detach().set_requires_grad();
    return saved_bytes(second(first(input, {}, true), {}, false));
  };
  // Kept: x, the first layer's y and z, the second's y.
  CHECK(saved(Mode::train, false, false, false) == 4 * image + statistics);
  CHECK(saved(Mode::train, true, false, false) == 3 * image + statistics);
  CHECK(saved(Mode::train, false, true, false) == 2 * image + statistics);
  CHECK(saved(Mode::train, true, true, false) == 2 * image + statistics);
  CHECK(saved(Mode::eval, false, false, false) == 4 * image);
  CHECK(saved(Mode::eval, true, false, false) == 4 * image);
  CHECK(saved(Mode::eval, false, true, false) == 2 * image);
  for (const Mode mode : {Mode::tune, Mode::deploy}) {
    CHECK(saved(mode, false, false, false) == 2 * image);
    CHECK(saved(mode, true, false, false) == 2 * image);
    CHECK(saved(mode, false, true, false) == image);
  }
  // Of a frozen layer nobody keeps x, so running it again would save nothing: z is kept.
  CHECK(saved(Mode::tune, false, true, true) == image);
  CHECK(saved(Mode::train, false, true, true) == 3 * image + statistics);
  CHECK(saved(Mode::train, true, true, true) == 2 * image + statistics);
}

TEST_CASE("Train updates running statistics once, whatever is run again", "[recompute]") {
  const ConvBNOptions options{.in_channels = 4, .out_channels = 4, .padding = {1, 1}};
  ConvBN first(options), second(options);
  first.recompute_convolution(true);
  const Tensor z = second(first(Tensor::ones({2, 6, 6, 4}), {}, true), {}, true);
  const auto after_forward = all_values(first.named_buffers());
  z.backward(Tensor::ones(z.shape()));
  CHECK(all_values(first.named_buffers()) == after_forward);
  CHECK(find(first.named_buffers(), "bn.num_batches_tracked").item() == 1);
}

TEST_CASE("set_recompute() reaches every ConvBN, and the first of each residual block",
          "[recompute]") {
  ResNet net(small_net(ResNetBlock::bottleneck, ResNetStem::cifar, ResNetShortcut::projection));
  const auto check = [&](const Recompute& recompute) {
    net.for_each_module([&](const std::string& name, const Module& module) {
      const auto* layer = dynamic_cast<const ConvBN*>(&module);
      if (!layer) return;
      INFO(name);
      const bool first = name.starts_with("layer") && name.ends_with("conv1");
      CHECK(layer->recompute().activation == recompute.activations);
      CHECK(layer->recompute().convolution == (recompute.blocks && first));
    });
  };
  check({});
  for (const Recompute& recompute : kChoices) {
    net.set_recompute(recompute);
    check(recompute);
    net.deploy();
    check(recompute);
    net.undeploy();
  }
  net.set_recompute({});
  check({});
}

TEST_CASE("what is recomputed has a name", "[recompute]") {
  CHECK(to_string(Recompute{}) == "none");
  for (const char* text : {"none", "activations", "blocks", "activations,blocks"}) {
    CHECK(to_string(parse_recompute(text)) == text);
  }
  CHECK(message_of<Error>([] { parse_recompute("all"); }) ==
        "recompute: 'all' is not one of none, activations, blocks, activations,blocks");
}
