// Trains a network, ResNet-20 unless told otherwise, from scratch or from a file of weights: on the
// synthetic shapes, CIFAR-10, CIFAR-100 or a folder of images.

#include <attune/core/saved_tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/interrupt.h"
#include "support/network.h"
#include "support/output_files.h"
#include "support/tasks.h"
#include "support/text_table.h"
#include "support/training.h"
#include "train_resnet/page.h"
#include "train_resnet/trainer.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  train_resnet                                     # ResNet-20 on synthetic images
  train_resnet --data ~/cifar --epochs 30 --out runs/cifar10
  train_resnet --data ~/cifar --epochs 30 --out runs/cifar10 --resume auto
                                                   # goes on where that one was stopped
  train_resnet --data ~/cifar/cifar-100-binary --net resnet32 --label-smoothing 0.1
  train_resnet --data ~/flowers --net resnet18 --batch-size 32 --init resnet18.safetensors \
               --replace-head --out runs/flowers   # fine-tunes, in Tune mode)";

void add_options(CLI::App& app, TrainOptions& options) {
  add_run_options(app, options.run);
  add_number_option(app, "--epochs", options.epochs, Limits::positive,
                    "Passes over the training images");
  add_number_option(app, "--lr", options.lr, Limits::positive,
                    "Highest learning rate of the one-cycle schedule", "0.4, with --init 0.01");
  add_number_option(app, "--momentum", options.momentum, Limits::below_one, "Of SGD, Nesterov's");
  add_number_option(app, "--weight-decay", options.weight_decay, Limits::not_negative, "Of SGD");
  add_number_option(app, "--label-smoothing", options.label_smoothing, Limits::below_one,
                    "Share of the target spread over all classes");
  add_number_option(app, "--ema", options.ema, Limits::below_one,
                    "Decay of averaged weights, which are tested and saved instead (0: none)");
  add_mode_option(app, options.mode);
  add_resume_options(app, options.resume, options.checkpoint_every);
}

nlohmann::json summary(const Trainer& trainer, bool was_interrupted) {
  nlohmann::json history = nlohmann::json::array();
  double best = 0;
  for (const EpochResult& epoch : trainer.results()) {
    const bool tested = std::isfinite(epoch.test_accuracy);
    if (tested) best = std::max(best, epoch.test_accuracy);
    history.push_back({{"train_loss", epoch.train_loss},
                       {"test_accuracy", tested ? nlohmann::json(epoch.test_accuracy) : nullptr},
                       {"train_seconds", epoch.train_seconds}});
  }
  return {{"settings", trainer.settings()},
          {"epochs", history},
          {"best_test_accuracy", best},
          {"interrupted", was_interrupted}};
}

/// The checkpoint that --resume names; empty if the run starts anew.
std::filesystem::path checkpoint_to_resume(const TrainOptions& options) {
  if (options.resume != "auto") return options.resume;
  if (options.run.out.empty()) throw UsageError("--resume auto needs --out, where it looks");
  const std::filesystem::path file = options.run.out / Trainer::kCheckpointFile;
  return std::filesystem::exists(file) ? file : std::filesystem::path();
}

/// A row an epoch in metrics.csv, if there is such a file.
void add_row(std::optional<CsvFile>& metrics, std::size_t number, const EpochResult& epoch) {
  if (!metrics) return;
  metrics->row({std::to_string(number), CsvFile::cell(epoch.train_loss),
                CsvFile::cell(epoch.test_accuracy), CsvFile::cell(epoch.last_lr),
                CsvFile::cell(epoch.train_seconds)});
}

int run(TrainOptions options) {
  const InterruptGuard guard;
  const DeviceScope device(options.run.device);
  const Bfloat16Saves rounding(options.run.keep_bf16);
  apply_settings(options.run);
  std::optional<CsvFile> metrics;
  if (options.checkpoint_every > 0 && options.run.out.empty()) {
    throw UsageError("--checkpoint-every needs --out, where checkpoints go");
  }
  const std::filesystem::path checkpoint = checkpoint_to_resume(options);
  if (!options.run.out.empty()) {
    metrics.emplace(options.run.out / "metrics.csv",
                    std::vector<std::string>{"epoch", "train_loss", "test_accuracy", "last_lr",
                                             "train_seconds"});
    check_writable(options.run.out / "summary.json");
    check_writable(options.run.out / "index.html");
    check_writable(options.run.out / Trainer::kCheckpointFile);
    check_writable(options.run.out / Trainer::kWeightsFile);
  }
  if (!options.run.json.empty()) check_writable(options.run.json);
  const std::filesystem::path& start = checkpoint.empty() ? options.run.init : checkpoint;
  if (!start.empty()) follow_description(options.run, start);

  const Task task = open_task(options.run);
  RunOptions network_options = options.run;
  if (!checkpoint.empty()) network_options.init.clear();  // the checkpoint has the weights
  const Network network = build_network(task, network_options);
  Trainer trainer(network.net, task, options);
  if (!checkpoint.empty()) trainer.resume(checkpoint);
  std::cout << fmt::format("{} ({} parameters) on {}: {} images to train on, {} to test on\n",
                           options.run.net, network.net->parameter_count(), task.name,
                           task.train->size(), task.test->size());
  std::cout << fmt::format("mode {} ({}), {}, learning rate up to {:g}\n",
                           to_string(options.chosen_mode()), describe(options.run),
                           checkpoint.empty() ? network.origin
                                              : fmt::format("resuming {} at {}",
                                                            checkpoint.string(), trainer.place()),
                           options.chosen_lr())
            << std::flush;
  for (std::size_t i = 0; i < trainer.epochs().size(); ++i) {
    add_row(metrics, i + 1, trainer.epochs()[i]);
  }

  trainer.run([&](std::size_t number, const EpochResult& epoch) {
    std::cout << fmt::format("epoch {:3}  loss {}  test accuracy {}  {:.1f} s", number,
                             loss_text(epoch.train_loss), percent(epoch.test_accuracy),
                             epoch.train_seconds)
              << std::endl;
    add_row(metrics, number, epoch);
  });

  if (options.run.profile) {
    std::cout << "\n" << profile_text(trainer.profile(), trainer.profiled_steps());
  }
  if (trainer.steps() == 0) {
    std::cerr << "interrupted before the first step: nothing was measured" << std::endl;
    return kExitInterrupted;
  }
  const nlohmann::json json = summary(trainer, interrupted());
  if (!options.run.json.empty()) write_json(options.run.json, json);
  if (!options.run.out.empty()) {
    write_json(options.run.out / "summary.json", json);
    const bool from_file = !options.run.init.empty();  // also if it was resumed since
    const TrainingReport report{
        .task = task.name,
        .origin = from_file ? "from " + options.run.init.string() : network.origin,
        .epochs = trainer.results(),
        .kept = predict_reports(task, options.run),
        .squared_scales = trainer.squared_scales(),
        .interrupted = interrupted()};
    write_file(options.run.out / "index.html", to_html(report, options));
    std::cout << "charts: " << (options.run.out / "index.html").string() << std::endl;
  }
  if (interrupted()) {
    std::cerr << "interrupted: the results are those of the epochs until then"
              << (options.run.out.empty() ? "" : "; --resume auto goes on from here") << std::endl;
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
      {.about = "Trains or fine-tunes a network and reports its test accuracy after each epoch.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
