#include "support/training.h"

#include <attune/core/autograd.h>
#include <attune/core/graph_report.h>
#include <attune/core/memory_stats.h>
#include <attune/core/ops/compare.h>
#include <attune/core/ops/reduce.h>
#include <attune/core/ops/softmax_cross_entropy.h>
#include <attune/core/random.h>
#include <attune/layers/predict.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "support/interrupt.h"

namespace attune::examples {
namespace {

class WithoutDropout {
 public:
  explicit WithoutDropout(Module& net) : net_(net), before_(net.training()) { net.train(false); }
  ~WithoutDropout() { net_.train(before_); }
  WithoutDropout(const WithoutDropout&) = delete;
  WithoutDropout& operator=(const WithoutDropout&) = delete;

 private:
  Module& net_;
  bool before_;
};

}  // namespace

void apply_settings(const RunOptions& options) {
  if (options.cuda_graph && options.device.device.type != DeviceType::cuda) {
    throw UsageError("--cuda-graph is for --device cuda: only a GPU repeats a step by itself");
  }
  if (options.threads > 0) set_num_threads(options.threads);
  manual_seed(options.seed);
}

LrSchedule one_cycle(std::int64_t steps) {
  constexpr double kWarmUp = 0.25;
  if (kWarmUp * static_cast<double>(steps) <= 1) return [](std::int64_t) { return 1.0; };
  return OneCycleLr(steps, {.warm_up = kWarmUp});
}

bool StepResult::finite() const { return std::isfinite(loss); }

LossFunction cross_entropy(const Batch& batch, double label_smoothing) {
  return [&batch, label_smoothing](Module& net) {
    return softmax_cross_entropy(net(batch.images), batch.targets, label_smoothing);
  };
}

TrainingStep::TrainingStep(Module& net, Optimizer& optimizer, const TrainingStepOptions& options)
    : net_(net), optimizer_(optimizer), options_(options) {}

StepResult TrainingStep::run(const Batch& batch) {
  if (!options_.cuda_graph) return run(cross_entropy(batch, options_.label_smoothing));
  return timed([&] {
    if (!graph_) record(batch);
    recorded_.images.copy_(batch.images);
    recorded_.targets.copy_(batch.targets);
    graph_->run();
    return loss_.item();  // a GPU is waited for when all is under way
  });
}

StepResult TrainingStep::run(const LossFunction& loss_of) {
  return timed([&] {
    const Tensor loss = forward(loss_of);
    const double value = loss.item();
    if (std::isfinite(value)) update(loss);
    synchronize(loss.device());
    return value;
  });
}

void TrainingStep::record(const Batch& batch) {
  recorded_.images = batch.images.clone();
  recorded_.targets = batch.targets.clone();
  graph_.emplace(batch.images.device(),
                 [this] { update(forward(cross_entropy(recorded_, options_.label_smoothing))); });
}

StepResult TrainingStep::timed(const std::function<double()>& step) {
  const auto start = std::chrono::steady_clock::now();
  const double loss = step();
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  return {.loss = loss, .milliseconds = spent.count()};
}

Tensor TrainingStep::forward(const LossFunction& loss_of) {
  optimizer_.zero_grad();
  Tensor loss = loss_of(net_);
  loss_ = loss.detach();
  return loss;
}

void TrainingStep::update(const Tensor& loss) {
  loss.backward();
  optimizer_.step();
  if (options_.ema) options_.ema->update();
}

std::string profile_text(const Profile& profile, std::int64_t steps) {
  const std::int64_t recorded = steps - kProfileWarmUp;
  if (recorded < 1) return fmt::format("no profile: {} steps are warm-up\n", kProfileWarmUp);
  return fmt::format("one step, mean of {} after the first {}:\n", recorded, kProfileWarmUp) +
         to_string(profile, recorded);
}

double accuracy(Module& net, const DataLoader& batches, Progress& progress) {
  const WithoutDropout guard(net);
  std::int64_t right = 0, total = 0;
  for (const Batch& batch : batches.epoch(0)) {
    if (interrupted()) return std::numeric_limits<double>::quiet_NaN();
    const Tensor hits = equal(argmax(predict(net, batch.images), 1), batch.targets);
    for (const std::uint8_t hit : hits.to_vector<std::uint8_t>()) right += hit;
    total += batch.size();
    progress.advance(batch.size());
  }
  return static_cast<double>(right) / static_cast<double>(total);
}

MemoryUse measure_memory(Module& net, const Tensor& images, const LossFunction& loss_of) {
  net.zero_grad();
  MemoryUse use;
  const MemoryScope scope(images.device());
  const Tensor loss = loss_of(net);
  use.saved_bytes = saved_bytes(loss, {images});
  loss.backward();
  use.peak_bytes = scope.peak_above_start();
  net.zero_grad();
  return use;
}

MemoryUse measure_memory(Module& net, const Batch& batch) {
  return measure_memory(net, batch.images, cross_entropy(batch));
}

}  // namespace attune::examples
