// A recorded step does what the step does, bit for bit, whatever changes from one to the next.

#include "attune/core/step_graph.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "attune/layers/models/resnet.h"
#include "attune/optim/adam.h"
#include "attune/optim/ema.h"
#include "attune/optim/lr_schedule.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using namespace attune;

namespace {

const Device kGpu = Device::cuda(0);
constexpr std::int64_t kSteps = 6;

/// What training leaves behind: losses, what the network answers after each step, parameters,
/// buffers, the state of optimizer and generator.
struct Trained {
  std::vector<double> losses;
  std::vector<std::vector<double>> answers;
  std::vector<std::vector<double>> tensors;
  std::uint64_t streams = 0;
};

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(const std::vector<Tensor>&)>;

/// Trains a small network with dropout, under a schedule, each step by `graph` or called.
Trained train(bool graph, Mode mode, const MakeOptimizer& make_optimizer) {
  Generator generator{1, 0};
  auto net = resnet20({}, generator);
  net->to(kGpu);
  net->set_mode(mode);
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(net->parameters());
  Ema ema(net->parameters(), {.decay = 0.9, .warm_up = true});
  const OneCycleLr schedule(kSteps);
  Tensor images = Tensor::zeros({2, 8, 8, 3}, DType::float32, kGpu);
  Tensor targets = Tensor::zeros({2}, DType::int64, kGpu);
  Tensor loss;
  const auto step = [&] {
    optimizer->zero_grad();
    loss = softmax_cross_entropy(dropout((*net)(images), 0.3, generator), targets);
    loss.backward();
    optimizer->step();
    ema.update();
  };
  StepGraph repeated(kGpu, step);
  Generator data{7, 0};
  Trained trained;
  for (std::int64_t i = 0; i < kSteps; ++i) {
    images.copy_(random_normal(images.shape(), 0, 1, data, DType::float32, kGpu));
    targets.copy_(Tensor::from(std::vector<std::int64_t>{i, 9 - i}, {2}, kGpu));
    optimizer->set_lr_factor(schedule(i));
    if (graph) {
      repeated.run();
    } else {
      step();
    }
    trained.losses.push_back(loss.item());
    const NoGradGuard no_grad;  // what was kept of filters until now is out of date
    trained.answers.push_back((*net)(images).to_vector<double>());
  }
  for (const auto& [name, tensor] : net->state_dict()) {
    trained.tensors.push_back(tensor.to_vector<double>());
  }
  for (const auto& [name, tensor] : optimizer->state()) {
    trained.tensors.push_back(tensor.to_vector<double>());
  }
  for (const auto& [name, tensor] : ema.state()) {
    trained.tensors.push_back(tensor.to_vector<double>());
  }
  trained.streams = generator.uses;
  return trained;
}

void check_same(Mode mode, const MakeOptimizer& make_optimizer) {
  const Trained called = train(false, mode, make_optimizer);
  const Trained repeated = train(true, mode, make_optimizer);
  CHECK(std::isfinite(called.losses.back()));
  CHECK(repeated.losses == called.losses);
  CHECK(repeated.answers == called.answers);
  const bool same_tensors = repeated.tensors == called.tensors;  // too many to be printed
  CHECK(same_tensors);
  CHECK(repeated.streams == called.streams);
}

}  // namespace

TEST_CASE("a recorded step of SGD is the step, bit for bit, in every mode") {
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune}) {
    INFO(to_string(mode));
    check_same(mode, [](const std::vector<Tensor>& params) {
      const std::vector<Tensor> first(params.begin(), params.begin() + 3);
      const std::vector<Tensor> rest(params.begin() + 3, params.end());
      return std::make_unique<Sgd>(
          std::vector<ParameterGroup>{{.params = first}, {.params = rest, .lr = 0.02}},
          SgdOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true});
    });
  }
}

TEST_CASE("a recorded step of Adam is the step, bit for bit") {
  check_same(Mode::train, [](const std::vector<Tensor>& params) {
    return std::make_unique<AdamW>(params, AdamWOptions{.lr = 0.01, .weight_decay = 0.1});
  });
}

TEST_CASE("recorded inference in Tune folds the weights that there are") {
  Generator generator{1, 0};
  auto net = resnet20({}, generator);
  net->to(kGpu);
  net->set_mode(Mode::tune);
  const Tensor images = random_normal({2, 8, 8, 3}, 0, 1, generator, DType::float32, kGpu);
  const NoGradGuard no_grad;
  Tensor answer;
  StepGraph inference(kGpu, [&] { answer = (*net)(images); });
  for (int i = 0; i < 5; ++i) {
    for (Tensor& weights : net->parameters()) {
      if (i < 3) break;  // what is kept when the step is recorded is up to date
      weights.copy_(random_normal(weights.shape(), 0, 0.3, generator, DType::float32, kGpu));
    }
    inference.run();
    CHECK(answer.to_vector<float>() == (*net)(images).to_vector<float>());
  }
}

TEST_CASE("each repetition of a step counts as a change of what it writes to") {
  Tensor x = Tensor::zeros({3}, DType::float32, kGpu),
         other = Tensor::zeros({3}, DType::float32, kGpu);
  StepGraph step(kGpu, [&] { x.fill_(1); });
  const std::uint64_t version_of_other = other.storage().version();
  std::uint64_t version = x.storage().version();
  for (int i = 0; i < 4; ++i) {
    step.run();
    CHECK(x.storage().version() > version);
    version = x.storage().version();
  }
  CHECK(other.storage().version() == version_of_other);
}

TEST_CASE("a recorded step takes its memory once, and gives it back with its results") {
  const MemoryStats before = memory_stats(kGpu);
  Tensor sum;
  {
    const Tensor x = Tensor::ones({1000}, DType::float32, kGpu);
    StepGraph step(kGpu, [&] { sum = attune::sum(x * 2 + 1); });
    for (int i = 0; i < 2; ++i) step.run();
    const std::int64_t live = memory_stats(kGpu).total.live;
    const std::int64_t allocations = memory_stats(kGpu).allocations;
    for (int i = 0; i < 5; ++i) step.run();
    CHECK(memory_stats(kGpu).total.live == live);
    CHECK(memory_stats(kGpu).allocations == allocations);
    // What is allocated meanwhile is none of the step's memory.
    const Tensor other = Tensor::full({1000}, 5, DType::float32, kGpu);
    step.run();
    CHECK(other.to_vector<float>() == std::vector<float>(1000, 5));
  }
  CHECK(sum.item() == 3000);
  sum = {};
  CHECK(memory_stats(kGpu).total.live == before.total.live);
}

TEST_CASE("a step that waits for the GPU cannot be recorded, and is usable still") {
  const Tensor x = Tensor::ones({10}, DType::float32, kGpu);
  double value = 0;
  const auto step = [&] { value = sum(x).item(); };
  StepGraph graph(kGpu, step);
  graph.run();
  CHECK(value == 10);
  for (int i = 0; i < 2; ++i) {
    CHECK(test::message_of<Error>([&] { graph.run(); }) ==
          "cuda: copying to the host: a step that is being recorded cannot wait");
  }
  step();
  CHECK(value == 10);
}

TEST_CASE("on the CPU each run calls the step") {
  int calls = 0;
  StepGraph graph(Device::cpu, [&] { ++calls; });
  for (int i = 0; i < 3; ++i) graph.run();
  CHECK(calls == 3);
}
