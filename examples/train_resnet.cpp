// Trains a network, ResNet-20 unless told otherwise, from scratch: on the synthetic shapes,
// CIFAR-10, CIFAR-100 or a folder of images.

#include <attune/core/device.h>
#include <attune/core/error.h>
#include <attune/layers/models/make_model.h>
#include <attune/optim/sgd.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/interrupt.h"
#include "support/output_files.h"
#include "support/tasks.h"
#include "support/text_table.h"
#include "support/training.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  train_resnet                                     ResNet-20 on synthetic images
  train_resnet --data ~/cifar --epochs 30 --out runs/cifar10
  train_resnet --data ~/cifar/cifar-100-binary --net resnet32 --label-smoothing 0.1
  train_resnet --data ~/flowers --net resnet18 --batch-size 32 --lr 0.1)";

struct TrainOptions {
  RunOptions run;
  std::int64_t epochs = 10;
  double lr = 0.4;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double label_smoothing = 0;
  Mode mode = Mode::train;
};

struct EpochResult {
  double train_loss = 0;  ///< mean over the steps
  double test_accuracy = 0;
  double train_seconds = 0;  ///< so far, testing left out
};

void add_options(CLI::App& app, TrainOptions& options) {
  add_run_options(app, options.run);
  add_number_option(app, "--epochs", options.epochs, Limits::positive,
                    "Passes over the training images");
  add_number_option(app, "--lr", options.lr, Limits::positive,
                    "Highest learning rate of the one-cycle schedule");
  add_number_option(app, "--momentum", options.momentum, Limits::below_one, "Of SGD, Nesterov's");
  add_number_option(app, "--weight-decay", options.weight_decay, Limits::not_negative, "Of SGD");
  add_number_option(app, "--label-smoothing", options.label_smoothing, Limits::below_one,
                    "Share of the target spread over all classes");
  add_mode_option(app, options.mode);
}

nlohmann::json to_json(const TrainOptions& options, const Task& task,
                       const std::vector<EpochResult>& epochs, bool was_interrupted) {
  nlohmann::json history = nlohmann::json::array();
  double best = 0;
  for (const EpochResult& epoch : epochs) {
    const bool tested = std::isfinite(epoch.test_accuracy);
    if (tested) best = std::max(best, epoch.test_accuracy);
    history.push_back({{"train_loss", epoch.train_loss},
                       {"test_accuracy", tested ? nlohmann::json(epoch.test_accuracy) : nullptr},
                       {"train_seconds", epoch.train_seconds}});
  }
  nlohmann::json settings = settings_json(options.run);
  settings.update({{"program", "train_resnet"},
                   {"task", task.name},
                   {"epochs", options.epochs},
                   {"lr", options.lr},
                   {"momentum", options.momentum},
                   {"weight_decay", options.weight_decay},
                   {"label_smoothing", options.label_smoothing},
                   {"mode", to_string(options.mode)}});
  return {{"settings", settings},
          {"epochs", history},
          {"best_test_accuracy", best},
          {"interrupted", was_interrupted}};
}

/// Trains, and tests after each epoch. Ends early if interrupted(), with the last epoch's accuracy
/// NaN. Throws Error if the loss is not finite. With --profile, prints what became of the time.
std::vector<EpochResult> train(Module& net, const Task& task, const TrainOptions& options,
                               CsvFile* metrics) {
  const DataLoader batches = training_batches(task, options.run);
  const DataLoader test = test_batches(task, options.run);
  Sgd optimizer(net.parameters(), {.lr = options.lr,
                                   .momentum = options.momentum,
                                   .weight_decay = options.weight_decay,
                                   .nesterov = options.momentum > 0});
  const LrSchedule schedule = one_cycle(options.epochs * batches.batches());

  std::vector<EpochResult> results;
  Profile profile;
  double seconds = 0;
  std::int64_t step = 0;
  for (std::int64_t epoch = 0; epoch < options.epochs && !interrupted(); ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    Progress progress(fmt::format("epoch {}/{}", epoch + 1, options.epochs), batches.batches(),
                      "steps", options.run.progress);
    double total_loss = 0;
    std::int64_t steps = 0;
    std::optional<ProfileScope> recording;  // waiting for batches included, testing not
    for (const Batch& batch : batches.epoch(epoch)) {
      if (interrupted()) break;
      if (options.run.profile && step >= kProfileWarmUp && !recording) recording.emplace(profile);
      optimizer.set_lr_factor(schedule(step));
      const StepResult result = train_step(net, optimizer, batch, options.label_smoothing);
      if (!result.finite()) {
        throw Error(
            fmt::format("training diverged: the loss of step {} is {} (try a smaller --lr "
                        "than {:g})",
                        step, loss_text(result.loss), options.lr));
      }
      total_loss += result.loss;
      ++steps;
      ++step;
      progress.advance(1, "loss " + loss_text(total_loss / static_cast<double>(steps)));
    }
    recording.reset();
    progress.finish();
    if (steps == 0) break;
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

    if (options.mode == Mode::train) net.set_mode(Mode::eval);
    Progress testing("test", task.test->size(), "images", options.run.progress);
    const double tested = accuracy(net, test, testing);
    testing.finish();
    if (options.mode == Mode::train) net.set_mode(Mode::train);

    results.push_back({total_loss / static_cast<double>(steps), tested, seconds});
    std::cout << fmt::format("epoch {:3}  loss {}  test accuracy {}  {:.1f} s", epoch + 1,
                             loss_text(results.back().train_loss), percent(tested), seconds)
              << std::endl;
    if (metrics != nullptr) {
      metrics->row({std::to_string(epoch + 1), CsvFile::cell(results.back().train_loss),
                    CsvFile::cell(tested), CsvFile::cell(optimizer.lr()), CsvFile::cell(seconds)});
    }
  }
  if (options.run.profile) std::cout << "\n" << profile_text(profile, step);
  return results;
}

int run(const TrainOptions& options) {
  const InterruptGuard guard;
  std::optional<CsvFile> metrics;
  if (!options.run.out.empty()) {
    metrics.emplace(options.run.out / "metrics.csv",
                    std::vector<std::string>{"epoch", "train_loss", "test_accuracy", "last_lr",
                                             "train_seconds"});
    check_writable(options.run.out / "summary.json");
  }
  if (!options.run.json.empty()) check_writable(options.run.json);
  apply_settings(options.run);

  const Task task = open_task(options.run);
  const auto net = make_model(options.run.net, {.classes = task.classes(), .stem = task.stem});
  if (options.run.use_double) net->to(DType::float64);
  if (options.mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(options.mode);
  }
  net->set_recompute(options.run.recompute);
  std::cout << fmt::format("{} ({} parameters) on {}: {} images to train on, {} to test on\n",
                           options.run.net, net->parameter_count(), task.name, task.train->size(),
                           task.test->size());

  const std::vector<EpochResult> epochs = train(*net, task, options, metrics ? &*metrics : nullptr);
  if (epochs.empty()) {
    std::cerr << "interrupted before the first step: nothing was measured" << std::endl;
    return kExitInterrupted;
  }
  const std::string json = to_json(options, task, epochs, interrupted()).dump(2) + "\n";
  if (!options.run.out.empty()) write_file(options.run.out / "summary.json", json);
  if (!options.run.json.empty()) write_file(options.run.json, json);
  if (interrupted()) {
    std::cerr << "interrupted: the results are those of the epochs until then" << std::endl;
    return kExitInterrupted;
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  TrainOptions options;
  return run_program(
      argc, argv,
      {.about = "Trains a network from scratch and reports its test accuracy after each epoch.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
