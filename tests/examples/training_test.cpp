#include "support/training.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/memory_stats.h"
#include "attune/layers/models/resnet.h"
#include "attune/optim/sgd.h"
#include "support/tasks.h"
#include "tests/catch.h"

using namespace attune;
using namespace attune::examples;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RunOptions tiny() {
  RunOptions options;
  options.limit = 20;
  options.batch_size = 8;
  options.workers = 0;
  return options;
}

}  // namespace

TEST_CASE("a task has as many images as asked for") {
  const Task task = open_task(tiny());
  CHECK(task.train->size() == 20);
  CHECK(task.test->size() == 20);
  CHECK(task.classes() == 10);
  CHECK(training_batches(task, tiny()).batches() == 2);
  CHECK(test_batches(task, tiny()).batches() == 1);
}

TEST_CASE("a batch larger than the data is refused") {
  RunOptions options = tiny();
  options.batch_size = 21;
  CHECK_THROWS_AS(open_task(options), Error);
  CHECK_THROWS_AS(open_transfer(options), Error);
}

TEST_CASE("accuracy is the share of right answers") {
  // Scores every image as class 3: one image in ten.
  class Constant : public Module {
   public:
    Tensor forward(const Tensor& x) override {
      std::vector<float> scores(static_cast<std::size_t>(x.size(0)) * 10, 0);
      for (std::size_t i = 3; i < scores.size(); i += 10) scores[i] = 1;
      return Tensor::from(scores, {x.size(0), 10});
    }
  } net;
  const Task task = open_task(tiny());
  Progress progress("test", 20, "images", ProgressStyle::off);
  CHECK(accuracy(net, test_batches(task, tiny()), progress) == 0.1);
}

TEST_CASE("a step updates all there is, unless its loss is not finite") {
  const auto net = resnet20();
  const Batch batch = *training_batches(open_task(tiny()), tiny()).epoch(0).next();
  Sgd optimizer(net->parameters(), {.lr = 0.1, .momentum = 0.9});
  Ema ema(net->parameters(), {.decay = 0.5});
  TrainingStep step(*net, optimizer, {.ema = &ema});
  // Each compared with what it was before: weights, momentum, averages.
  const auto values = [&] {
    std::vector<std::vector<double>> all(3);
    const auto add = [](std::vector<double>& to, const Tensor& tensor) {
      const auto from = tensor.to_vector<double>();
      to.insert(to.end(), from.begin(), from.end());
    };
    for (const Tensor& parameter : net->parameters()) add(all[0], parameter);
    for (const auto& [name, tensor] : optimizer.state()) add(all[1], tensor);
    for (const auto& [name, tensor] : ema.state()) add(all[2], tensor);
    return all;
  };
  CHECK(step.run(batch).finite());
  const auto after_one = values();
  CHECK(step.run(batch).finite());
  const auto after_two = values();
  for (std::size_t i = 0; i < 3; ++i) CHECK((after_one[i] == after_two[i]) == false);

  for (const double value : {kNan, std::numeric_limits<double>::infinity()}) {
    Batch bad = batch;
    bad.images = Tensor::full(batch.images.shape(), value);
    CHECK(!step.run(bad).finite());
    CHECK((values() == after_two) == true);
  }
}

TEST_CASE("a step takes any loss") {
  const Batch batch = *training_batches(open_task(tiny()), tiny()).epoch(0).next();
  const auto weights_after = [&](const auto& input) {
    Generator generator{1, 0};
    const auto net = resnet20({}, generator);
    Sgd optimizer(net->parameters(), {.lr = 0.1});
    TrainingStep step(*net, optimizer, {.label_smoothing = 0.1});
    CHECK(step.run(input).finite());
    return net->head().weight().to_vector<float>();
  };
  CHECK(weights_after(cross_entropy(batch, 0.1)) == weights_after(batch));
  CHECK(weights_after(cross_entropy(batch, 0.2)) != weights_after(batch));
}

TEST_CASE("memory is measured without leaving any behind") {
  const auto net = resnet20();
  const Batch batch = *training_batches(open_task(tiny()), tiny()).epoch(0).next();
  const std::int64_t live = memory_stats(Device::cpu).total.live;
  net->set_mode(Mode::eval);
  const MemoryUse eval = measure_memory(*net, batch);
  net->set_mode(Mode::tune);
  const MemoryUse tune = measure_memory(*net, batch);
  CHECK(memory_stats(Device::cpu).total.live == live);
  CHECK(tune.saved_bytes < eval.saved_bytes);
  CHECK(tune.peak_bytes < eval.peak_bytes);
  CHECK(eval.peak_bytes > eval.saved_bytes);
}

TEST_CASE("the learning rate rises and falls, also in a short run") {
  const LrSchedule schedule = one_cycle(100);
  CHECK(schedule(0) < 0.1);
  CHECK(std::abs(schedule(24) - 1) <= 1e-12);
  CHECK(schedule(99) < 0.01);
  for (const std::int64_t steps : {1, 2, 4}) CHECK(one_cycle(steps)(0) == 1);
}
