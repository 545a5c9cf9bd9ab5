#include "compare_modes/comparison.h"

#include <attune/core/error.h>
#include <attune/core/random.h>
#include <attune/layers/models/make_model.h>
#include <attune/optim/sgd.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>

#include "support/figures.h"
#include "support/interrupt.h"
#include "support/network.h"
#include "support/progress.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

SgdOptions sgd_options(double lr, const CompareOptions& options) {
  return {.lr = lr,
          .momentum = options.momentum,
          .weight_decay = options.weight_decay,
          .nesterov = options.momentum > 0};
}

void fix_affine(Module& net) {
  net.for_each_module([](const std::string&, Module& module) {
    const auto* block = dynamic_cast<const ConvBN*>(&module);
    if (block == nullptr) return;
    for (Tensor vector : {block->gamma(), block->beta()}) {
      if (vector.defined()) vector.set_requires_grad(false);
    }
  });
}

std::vector<Tensor> trainable(const Module& net) {
  std::vector<Tensor> tensors = net.parameters();
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(),
                               [](const Tensor& tensor) { return !tensor.requires_grad(); }),
                tensors.end());
  return tensors;
}

/// A copy of the pretrained network, as `contender` trains it.
std::shared_ptr<ImageClassifier> build_copy(const ModeResult& contender,
                                            const Pretrained& pretrained, const Task& target,
                                            RunOptions options) {
  options.init.clear();  // the pretrained state has it
  auto net = build_network(target, options).net;
  net->load_state_dict(pretrained.state);
  if (contender.mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(contender.mode);
  }
  if (contender.fixed_affine) fix_affine(*net);
  return net;
}

/// All that compete, not measured yet.
std::vector<ModeResult> contenders_of(const CompareOptions& options) {
  std::vector<ModeResult> all;
  for (const Mode mode : options.modes) all.push_back({.mode = mode});
  for (const Mode mode : options.fixed_affine_modes) {
    all.push_back({.mode = mode, .fixed_affine = true});
  }
  return all;
}

/// Accuracy with running statistics: what the network will do when it is used.
double test_accuracy(Module& net, Mode mode, const DataLoader& test, Progress& progress) {
  if (mode == Mode::train) net.set_mode(Mode::eval);
  const double result = accuracy(net, test, progress);
  if (mode == Mode::train) net.set_mode(Mode::train);
  return result;
}

}  // namespace

double ModeResult::step_milliseconds() const { return median(milliseconds); }

double ModeResult::final_loss() const {
  if (loss.empty()) return kNotMeasured;
  const auto count = std::min<std::ptrdiff_t>(10, static_cast<std::ptrdiff_t>(loss.size()));
  return std::accumulate(loss.end() - count, loss.end(), 0.0) / static_cast<double>(count);
}

const ModeResult* Comparison::find(Mode mode) const {
  for (const ModeResult& result : modes) {
    if (result.mode == mode) return &result;
  }
  return nullptr;
}

Contender make_contender(ModeResult result, std::shared_ptr<Module> net,
                         std::unique_ptr<Optimizer> optimizer, bool cuda_graph) {
  const TrainingStepOptions options{.cuda_graph = cuda_graph};
  auto step = std::make_unique<TrainingStep>(*net, *optimizer, options);
  return {.result = std::move(result),
          .net = std::move(net),
          .optimizer = std::move(optimizer),
          .step = std::move(step)};
}

void step_in_turn(std::vector<Contender>& contenders, std::int64_t step, double lr_factor,
                  const std::function<StepResult(TrainingStep&)>& take_step,
                  const StepObserver& observe, bool profile) {
  const Generator dropout = default_generator();
  for (std::size_t turn = 0; turn < contenders.size(); ++turn) {
    const std::size_t first = static_cast<std::size_t>(step) % contenders.size();
    Contender& contender = contenders[(first + turn) % contenders.size()];
    ModeResult& result = contender.result;
    if (result.diverged) continue;
    contender.optimizer->set_lr_factor(lr_factor);
    default_generator() = dropout;
    std::optional<ProfileScope> recording;
    if (profile && step >= kProfileWarmUp) recording.emplace(result.profile);
    const StepResult last = take_step(*contender.step);
    recording.reset();
    result.loss.push_back(last.loss);
    result.milliseconds.push_back(last.milliseconds);
    result.diverged = !last.finite();
    if (observe) observe(step, result, last);
  }
}

bool all_diverged(const std::vector<Contender>& contenders) {
  return std::all_of(contenders.begin(), contenders.end(),
                     [](const Contender& contender) { return contender.result.diverged; });
}

Pretrained pretrain(const Transfer& transfer, const CompareOptions& options) {
  const Task& source = transfer.source;
  const auto net = build_network(source, options.run).net;
  const DataLoader batches = training_batches(source, options.run);
  Sgd optimizer(net->parameters(), sgd_options(options.pretrain_lr, options));
  TrainingStep training(*net, optimizer, {.cuda_graph = options.run.cuda_graph});
  const std::int64_t steps = options.pretrain_epochs * batches.batches();
  const LrSchedule schedule = one_cycle(std::max<std::int64_t>(steps, 1));

  Progress progress("pretrain", steps, "steps", options.run.progress);
  std::int64_t step = 0;
  for (std::int64_t epoch = 0; epoch < options.pretrain_epochs && !interrupted(); ++epoch) {
    for (const Batch& batch : batches.epoch(epoch)) {
      if (interrupted()) break;
      optimizer.set_lr_factor(schedule(step));
      const StepResult result = training.run(batch);
      if (!result.finite()) {
        throw Error(
            fmt::format("pretraining diverged: the loss of step {} is {} (try a smaller "
                        "--pretrain-lr than {:g})",
                        step, loss_text(result.loss), options.pretrain_lr));
      }
      ++step;
      progress.advance(1, "loss " + loss_text(result.loss));
    }
  }
  progress.finish();

  Pretrained pretrained{.source = source.name};
  net->set_mode(Mode::eval);
  Progress testing("test", source.test->size(), "images", options.run.progress);
  pretrained.source_accuracy = accuracy(*net, test_batches(source, options.run), testing);
  testing.finish();
  pretrained.squared_scales = squared_scales(*net);
  if (transfer.target.train->classes() != source.train->classes()) {
    net->replace_head(transfer.target.classes());
  }
  pretrained.state = net->state_dict();  // the network ends here, so its tensors are not shared
  return pretrained;
}

Pretrained read_pretrained(const Task& target, const CompareOptions& options) {
  const Network network = build_network(target, options.run);
  return {.source = options.run.init.filename().string(),
          .state = network.net->state_dict(),
          .source_accuracy = kNotMeasured,
          .squared_scales = squared_scales(*network.net)};
}

Comparison fine_tune(const Pretrained& pretrained, const Task& target,
                     const CompareOptions& options, const StepObserver& observe) {
  const DataLoader batches = training_batches(target, options.run);
  const DataLoader test = test_batches(target, options.run);
  const Batch probe = *batches.epoch(0).next();

  std::vector<ModeResult> results = contenders_of(options);
  const auto images = target.test->size() * static_cast<std::int64_t>(results.size());
  Progress before("test", images, "images", options.run.progress);
  std::vector<Contender> contenders;
  for (ModeResult& result : results) {
    const auto copy = [&] { return build_copy(result, pretrained, target, options.run); };
    // Measuring changes running statistics in Mode::train: on a copy of its own.
    result.memory = measure_memory(*copy(), probe);
    const auto net = copy();
    result.accuracy_before = test_accuracy(*net, result.mode, test, before);
    auto optimizer = std::make_unique<Sgd>(trainable(*net), sgd_options(options.lr, options));
    contenders.push_back(
        make_contender(std::move(result), net, std::move(optimizer), options.run.cuda_graph));
  }
  before.finish();

  std::int64_t steps = options.epochs * batches.batches();
  if (options.steps > 0) steps = std::min(steps, options.steps);
  const CosineLr schedule(std::max<std::int64_t>(steps, 1));
  Progress progress("fine-tune", steps, "steps", options.run.progress);
  std::int64_t step = 0;
  const auto finished = [&] { return step == steps || interrupted() || all_diverged(contenders); };
  for (std::int64_t epoch = 0; !finished(); ++epoch) {
    for (const Batch& batch : batches.epoch(epoch)) {
      if (finished()) break;
      std::string note;
      step_in_turn(
          contenders, step, schedule(step), [&](TrainingStep& next) { return next.run(batch); },
          observe, options.run.profile);
      for (const Contender& contender : contenders) {
        note += fmt::format("{} {} ", to_string(contender.result.mode),
                            loss_text(contender.result.loss.back()));
      }
      ++step;
      progress.advance(1, note);
    }
  }
  progress.finish();

  Comparison comparison{.target = target.name, .pretrained = pretrained};
  Progress after("test", images, "images", options.run.progress);
  for (Contender& contender : contenders) {
    ModeResult& result = contender.result;
    result.accuracy_after =
        result.diverged ? kNotMeasured : test_accuracy(*contender.net, result.mode, test, after);
    comparison.modes.push_back(std::move(result));
  }
  after.finish();
  comparison.kept = predict_reports(target, options.run);
  comparison.interrupted = interrupted();
  return comparison;
}

double largest_loss_difference(const ModeResult& a, const ModeResult& b, std::size_t steps) {
  std::size_t common = std::min(a.loss.size(), b.loss.size());
  if (steps > 0) common = std::min(common, steps);
  double largest = common > 0 ? 0 : kNotMeasured;
  for (std::size_t i = 0; i < common; ++i) {
    const double difference = std::abs(a.loss[i] - b.loss[i]) / std::abs(b.loss[i]);
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace attune::examples
