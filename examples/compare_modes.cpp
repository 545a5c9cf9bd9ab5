// Fine-tunes one pretrained network in the four modes of its convolution + batch-norm blocks, side
// by side, and shows that Tune gives Eval's result at Deploy's cost (arXiv 2305.11624).

#include <attune/core/error.h>
#include <attune/core/saved_tensor.h>
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "compare_modes/comparison.h"
#include "compare_modes/results.h"
#include "support/interrupt.h"
#include "support/network.h"
#include "support/output_files.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  compare_modes                                    # synthetic images, about a minute
  compare_modes --out runs/modes                   # ... with index.html, a page of charts
  compare_modes --double --steps 20 --limit 1024   # how equal Tune and Eval are in double precision
  compare_modes --data ~/cifar --pretrain-epochs 15 --epochs 3
                                                   # CIFAR-100, then CIFAR-10, in their binary form
  compare_modes --init resnet20.safetensors --data ~/cifar --replace-head
                                                   # a network from elsewhere
  compare_modes --lr 0.003                         # a rate that Deploy does not survive)";

void add_options(CLI::App& app, CompareOptions& options) {
  add_run_options(app, options.run);
  add_number_option(app, "--pretrain-epochs", options.pretrain_epochs, Limits::not_negative,
                    "Epochs on the source data, in Train mode");
  add_number_option(app, "--epochs", options.epochs, Limits::positive,
                    "Epochs of fine-tuning on the target data, in each mode");
  add_number_option(app, "--steps", options.steps, Limits::not_negative,
                    "Fine-tune for no more steps than this (0: no limit)");
  add_number_option(app, "--pretrain-lr", options.pretrain_lr, Limits::positive,
                    "Highest learning rate of the one-cycle pretraining");
  add_number_option(app, "--lr", options.lr, Limits::positive,
                    "First learning rate of fine-tuning; falls along a cosine");
  add_number_option(app, "--momentum", options.momentum, Limits::below_one, "Of SGD, Nesterov's");
  add_number_option(app, "--weight-decay", options.weight_decay, Limits::not_negative, "Of SGD");
  add_modes_option(app, options.modes);
}

int compare(CompareOptions options) {
  const InterruptGuard guard;
  const DeviceScope device(options.run.device);
  const Bfloat16Saves rounding(options.run.keep_bf16);
  apply_settings(options.run);
  const bool has_folder = !options.run.out.empty();
  std::optional<CsvFile> metrics;
  if (has_folder) {
    metrics.emplace(options.run.out / "metrics.csv",
                    std::vector<std::string>{"step", "mode", "loss", "ms"});
    check_writable(options.run.out / "summary.json");
    check_writable(options.run.out / "index.html");
  }
  if (!options.run.json.empty()) check_writable(options.run.json);

  const bool from_file = !options.run.init.empty();
  if (from_file) follow_description(options.run, options.run.init);
  const Transfer transfer = from_file ? Transfer{.source = {}, .target = open_target(options.run)}
                                      : open_transfer(options.run);
  const Pretrained pretrained =
      from_file ? read_pretrained(transfer.target, options) : pretrain(transfer, options);
  if (interrupted()) {
    std::cerr << "interrupted while pretraining: nothing was measured" << std::endl;
    return kExitInterrupted;
  }
  const Comparison comparison =
      fine_tune(pretrained, transfer.target, options,
                [&](std::int64_t step, const ModeResult& result, const StepResult& last) {
                  if (!metrics) return;
                  metrics->row({std::to_string(step), to_string(result.mode),
                                CsvFile::cell(last.loss), CsvFile::cell(last.milliseconds)});
                });

  std::cout << to_text(comparison, options);
  if (options.run.profile) {
    for (const ModeResult& result : comparison.modes) {
      std::cout << fmt::format(
          "\n{}: {}", to_string(result.mode),
          profile_text(result.profile, static_cast<std::int64_t>(result.loss.size())));
    }
  }
  const nlohmann::json json = to_json(comparison, options);
  if (!options.run.json.empty()) write_json(options.run.json, json);
  if (has_folder) {
    write_json(options.run.out / "summary.json", json);
    write_file(options.run.out / "index.html", to_html(comparison, options));
    std::cout << "charts: " << (options.run.out / "index.html").string() << "\n";
  }
  if (comparison.interrupted) {
    std::cerr << "interrupted: the results are those of the steps until then" << std::endl;
    return kExitInterrupted;
  }
  if (std::all_of(comparison.modes.begin(), comparison.modes.end(),
                  [](const ModeResult& result) { return result.diverged; })) {
    throw Error(fmt::format("fine-tuning diverged in every mode (try a smaller --lr than {:g})",
                            options.lr));
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  CompareOptions options;
  return run_program(
      argc, argv,
      {.about = "Fine-tunes one pretrained network in Train, Eval, Tune and Deploy, side by side.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return compare(options); });
}
