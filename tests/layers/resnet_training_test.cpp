// Gradients of whole networks, and that networks learn.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/grad_check.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/models/resnet.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

struct Batch {
  Tensor images, labels;
};

Batch random_batch(std::uint64_t seed) {
  Generator generator{seed, 0};
  return {random_normal({8, 8, 8, 3}, 0, 1, generator),
          Tensor::from(std::vector<std::int64_t>{0, 1, 2, 3, 0, 1, 2, 3}, {8})};
}

// Of the batch's dtype, in Train, with running statistics that fit the batch.
std::shared_ptr<ResNet> tiny_net(std::uint64_t seed, const Batch& batch) {
  Generator generator{seed, 0};
  auto net = std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 8, .stem = ResNetStem::cifar, .classes = 4},
      generator);
  net->to(batch.images.dtype());
  const NoGradGuard no_grad;
  for (int i = 0; i < 30; ++i) (*net)(batch.images);
  return net;
}

// Plain gradient descent; returns the losses before each step.
std::vector<double> descend(Module& net, const Batch& batch, double rate, int steps) {
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    const Tensor loss = softmax_cross_entropy(net(batch.images), batch.labels);
    losses.push_back(loss.item());
    net.zero_grad();
    loss.backward();
    const NoGradGuard no_grad;
    for (Tensor& parameter : net.parameters()) {
      parameter.copy_(parameter - rate * parameter.grad());
    }
  }
  return losses;
}

}  // namespace

TEST_CASE("gradients of whole networks agree with finite differences", "[resnet][gradient]") {
  struct Case {
    ResNetOptions options;
    std::int64_t side;
  };
  const std::vector<Case> cases{
      {{.depths = {1, 1}, .width = 2, .stem = ResNetStem::cifar, .in_channels = 1, .classes = 2},
       4},
      {{.depths = {1, 1},
        .width = 2,
        .stem = ResNetStem::cifar,
        .shortcut = ResNetShortcut::pad,
        .in_channels = 1,
        .classes = 2},
       4},
      {{.block = ResNetBlock::bottleneck,
        .depths = {1, 1},
        .width = 1,
        .stem = ResNetStem::imagenet,
        .in_channels = 1,
        .classes = 2},
       16}};
  for (const Case& network : cases) {
    Generator generator{3, 0};
    ResNet net(network.options, generator);
    net.to(DType::float64);
    pretend_trained(net, generator);
    const Tensor x =
        random_normal({3, network.side, network.side, 1}, 0, 1, generator, DType::float64);
    for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
      if (mode == Mode::deploy) {
        net.deploy();
      } else {
        net.set_mode(mode);
      }
      std::vector<Tensor> inputs = net.parameters();
      inputs.push_back(x);
      const auto result =
          grad_check([&](const std::vector<Tensor>& in) { return net(in.back()); }, inputs);
      INFO(to_string(mode) << ": " << result.message);
      CHECK(result.ok);
    }
  }
}

TEST_CASE("a small network learns one batch by heart in every mode", "[resnet]") {
  const Batch batch = random_batch(1);
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
    const auto net = tiny_net(2, batch);
    if (mode == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(mode);
    }
    // With frozen statistics nothing keeps activations from growing at rates that Train stands.
    const auto losses = descend(*net, batch, mode == Mode::train ? 0.5 : 0.2, 20);
    INFO(to_string(mode) << ": " << losses.front() << " to " << losses.back());
    CHECK(losses.front() > 1);  // about log(4)
    CHECK(losses.back() < 0.1 * losses.front());
  }
}

TEST_CASE("Eval and Tune train a network alike", "[resnet]") {
  Batch batch = random_batch(1);
  batch.images = batch.images.to(DType::float64);
  const auto losses = [&](Mode mode) {
    const auto net = tiny_net(2, batch);
    net->set_mode(mode);
    return descend(*net, batch, 0.2, 20);
  };
  CHECK(relative_error(losses(Mode::tune), losses(Mode::eval)) <= 1e-11);
}

TEST_CASE("training is the same on any number of threads", "[resnet]") {
  const auto train = [] {
    const Batch batch = random_batch(2);
    const auto net = tiny_net(3, batch);
    const auto losses = descend(*net, batch, 0.1, 3);
    return std::pair(losses, all_values(net->state_dict()));
  };
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = train();
  set_num_threads(3);
  const auto three = train();
  set_num_threads(threads);
  CHECK(one == three);
}
