// Gradients of whole networks, and that networks learn.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/grad_check.h"
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

std::shared_ptr<ResNet> tiny_net(std::uint64_t seed) {
  Generator generator{seed, 0};
  return std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 8, .stem = ResNetStem::cifar, .classes = 4},
      generator);
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
      float* w = parameter.mutable_data<float>();
      const Tensor grad = parameter.grad();
      for (std::int64_t i = 0; i < parameter.count(); ++i) {
        w[i] -= static_cast<float>(rate) * grad.data<float>()[i];
      }
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
    const auto net = tiny_net(2);
    // Statistics that fit the data, as frozen ones do in practice.
    for (int i = 0; i < 30; ++i) (*net)(batch.images);
    if (mode == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(mode);
    }
    const auto losses = descend(*net, batch, 0.1, 20);
    INFO(to_string(mode) << ": " << losses.front() << " to " << losses.back());
    CHECK(losses.front() > 1);  // about log(4)
    CHECK(losses.back() < 0.1 * losses.front());
  }
}

TEST_CASE("training is the same on any number of threads", "[resnet]") {
  const auto train = [] {
    const auto net = tiny_net(3);
    const auto losses = descend(*net, random_batch(2), 0.1, 3);
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
