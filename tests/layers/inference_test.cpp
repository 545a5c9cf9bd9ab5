// A network used without gradients keeps what its layers make of their weights: until these change,
// in whatever way, and whoever else uses them.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "attune/core/memory_stats.h"
#include "attune/core/ops/reduce.h"
#include "attune/layers/dropout.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/predict.h"
#include "attune/layers/sequential.h"
#include "attune/optim/sgd.h"
#include "tests/layers/layers_test_util.h"
#include "tests/set_element.h"
#include "tests/thread_count.h"

using namespace attune;

namespace {

struct Network {
  std::shared_ptr<ResNet> net = make_resnet("resnet20");
  Mode mode;
  Tensor x;

  explicit Network(Mode initial_mode) : mode(initial_mode) {
    Generator generator{1, 0};
    test::pretend_trained(*net, generator);
    if (mode == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(mode);
    }
    x = random_normal({2, 32, 32, 3}, 0, 1, generator);
  }

  std::vector<float> infer() const {
    const NoGradGuard no_grad;
    return (*net)(x).to_vector<float>();
  }
  // The same, of nothing that was kept.
  std::vector<float> infer_afresh() const {
    release_idle_memory(test::test_device());
    return infer();
  }
  std::vector<float> with_gradients() const { return (*net)(x).to_vector<float>(); }
};

constexpr std::array kModes{Mode::eval, Mode::tune, Mode::deploy};

std::int64_t live_workspace() {
  return memory_stats(test::test_device())[MemoryPurpose::workspace].live;
}

}  // namespace

TEST_CASE("inference from kept filters is forward with gradients, to the last bit", "[resnet]") {
  const DefaultDevice on_cpu(Device::cpu);  // where filters are kept
  for (const Mode mode : kModes) {
    INFO(to_string(mode));
    {
      const Network network(mode);
      const std::vector<float> expected = network.with_gradients();
      CHECK(live_workspace() == 0);
      CHECK(network.infer() == expected);
      CHECK(live_workspace() > 0);
      CHECK(network.infer() == expected);
    }
    CHECK(live_workspace() == 0);
  }
}

TEST_CASE("inference notices whatever changes the weights", "[resnet]") {
  struct Change {
    const char* name;
    std::function<void(Network&)> apply;
  };
  const std::vector<Change> changes{
      {"an optimizer's step",
       [](Network& network) {
         Sgd optimizer(network.net->parameters(), {.lr = 0.1});
         sum((*network.net)(network.x)).backward();
         optimizer.step();
       }},
      {"load_state_dict()",
       [](Network& network) {
         NamedTensors state;
         for (const auto& [name, tensor] : network.net->state_dict()) {
           state.emplace_back(name, tensor.clone());
           if (tensor.rank() == 4) test::add_to_element(state.back().second, 0, 1);
         }
         network.net->load_state_dict(state);
       }},
      {"deploy() or undeploy()",
       [](Network& network) {
         network.mode == Mode::deploy ? network.net->undeploy() : network.net->deploy();
         // The function is the same; that of other weights is not.
         for (const Tensor& parameter : network.net->parameters()) {
           if (parameter.rank() == 4) test::add_to_element(parameter, 0, 1);
         }
       }},
  };
  for (const Mode mode : kModes) {
    for (const Change& change : changes) {
      INFO(to_string(mode) << ", " << change.name);
      Network network(mode);
      const std::vector<float> before = network.infer();
      change.apply(network);
      const std::vector<float> after = network.infer();
      CHECK(after != before);
      CHECK(after == network.infer_afresh());
      CHECK(after == network.with_gradients());
    }
  }
}

TEST_CASE("two threads infer with one network", "[resnet]") {
  const DefaultDevice on_cpu(Device::cpu);  // where filters are kept
  for (const Mode mode : kModes) {
    INFO(to_string(mode));
    const Network network(mode);
    const std::vector<float> expected = network.with_gradients();
    std::vector<int> wrong(2, 0);
    std::vector<std::thread> threads;
    for (int& count : wrong) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3; ++i) count += network.infer() != expected;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(2, 0));
  }
}

TEST_CASE("predict is forward of a few images at a time", "[resnet]") {
  Generator generator{5, 0};
  const Tensor x = random_normal({19, 32, 32, 3}, 0, 1, generator);
  for (const Mode mode : kModes) {
    INFO(to_string(mode));
    const Network network(mode);
    const Tensor y = predict(*network.net, x);
    CHECK_FALSE(y.requires_grad());
    CHECK(y.shape() == Shape{19, 10});
    const NoGradGuard no_grad;
    CHECK(test::relative_error(y, (*network.net)(x)) <= 1e-5);
    CHECK(predict(*network.net, x, 19).to_vector<float>() == (*network.net)(x).to_vector<float>());
    const test::ThreadCount other(num_threads() == 1 ? 2 : 1);
    CHECK(predict(*network.net, x).to_vector<float>() == y.to_vector<float>());
  }
}

TEST_CASE("predict refuses what would depend on other images, or on chance") {
  const DefaultDevice on_cpu(Device::cpu);  // where images go apart
  const Network network(Mode::eval);
  network.net->set_mode(Mode::train);
  CHECK_THROWS_WITH(predict(*network.net, network.x, 1),
                    "predict: ConvBN 'conv1' is in Mode::train, which normalises by the batch");
  Sequential net({std::make_shared<Dropout>(0.5)});
  const Tensor x = Tensor::ones({20, 3});
  CHECK_THROWS_WITH(predict(net, x), "predict: Dropout '0' drops; call train(false) before");
  net.train(false);
  CHECK(predict(net, x).to_vector<float>() == x.to_vector<float>());
  CHECK_THROWS_WITH(predict(net, x, 0), "predict: images_at_a_time is 0");
}
