#include "compare_modes/results.h"

#include <attune/core/device.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "support/text_table.h"

namespace attune::examples {
namespace {

/// "1.00" for the reference itself, "-" without one.
std::string ratio(double value, double reference) {
  return reference > 0 && std::isfinite(value) ? fmt::format("{:.2f}", value / reference) : "-";
}

std::string after(const ModeResult& result) {
  return result.diverged ? "diverged" : percent(result.accuracy_after);
}

std::string pretraining(const Pretrained& pretrained) {
  if (std::isnan(pretrained.source_accuracy)) return fmt::format("from {}", pretrained.source);
  return fmt::format("pretrained on {} ({} of its test images right)", pretrained.source,
                     percent(pretrained.source_accuracy));
}

// JSON has no NaN.
nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

}  // namespace

Table result_table(const Comparison& comparison) {
  const ModeResult* eval = comparison.find(Mode::eval);
  Table table{{"mode", "before", "after", "loss", "ms/step", "/eval", "saved MiB", "/eval",
               "peak MiB", "/eval"},
              {}};
  for (const ModeResult& result : comparison.modes) {
    const ModeResult& reference = eval != nullptr ? *eval : result;
    const auto of_eval = [&](double value, double eval_value) {
      return eval != nullptr ? ratio(value, eval_value) : "-";
    };
    const double ms = result.step_milliseconds();
    const auto [saved, peak] = result.memory;
    table.rows.push_back(
        {to_string(result.mode), percent(result.accuracy_before), after(result),
         result.loss.empty() ? "-" : loss_text(result.final_loss()),
         result.loss.empty() ? "-" : fmt::format("{:.1f}", ms),
         of_eval(ms, reference.step_milliseconds()), mebibytes(saved),
         of_eval(static_cast<double>(saved), static_cast<double>(reference.memory.saved_bytes)),
         mebibytes(peak),
         of_eval(static_cast<double>(peak), static_cast<double>(reference.memory.peak_bytes))});
  }
  return table;
}

std::string table_legend() {
  return "before, after: test accuracy with running statistics. loss: mean of the last 10 steps.\n"
         "ms/step: median. saved: kept for backward. peak: of forward and backward, above weights\n"
         "and images. /eval: relative to Eval.";
}

std::string settings_text(const Comparison& comparison, const CompareOptions& options) {
  const RunOptions& run = options.run;
  return fmt::format(
      "{} {}{}. On {}: up to {} epochs in each mode, learning rate {:g} falling along a cosine. "
      "Batches of {}, SGD with Nesterov momentum {:g} and weight decay {:g}, {}, "
      "recomputing {},{} seed {}, {} threads; attune {}.",
      run.net, pretraining(comparison.pretrained),
      run.init.empty() ? fmt::format(", {} epochs from scratch in Train mode (highest learning "
                                     "rate {:g})",
                                     options.pretrain_epochs, options.pretrain_lr)
                       : "",
      comparison.target, options.epochs, options.lr, run.batch_size, options.momentum,
      options.weight_decay, describe(run), to_string(run.recompute),
      run.keep_bf16 ? " keeping bf16," : "", run.seed, num_threads(), version);
}

std::string to_text(const Comparison& comparison, const CompareOptions& options) {
  std::string text =
      fmt::format("{}, fine-tuned on {} ({})\n\n", pretraining(comparison.pretrained),
                  comparison.target, describe(options.run));
  const Table table = result_table(comparison);
  text += text_table(table.header, table.rows) + "\n" + table_legend() + "\n";
  const ModeResult* eval = comparison.find(Mode::eval);
  const ModeResult* tune = comparison.find(Mode::tune);
  const auto has_losses = [](const ModeResult* result) {
    return result != nullptr && !result->loss.empty() && !result->diverged;
  };
  if (has_losses(tune) && has_losses(eval)) {
    text += fmt::format(
        "\nTune against Eval, largest relative difference of the loss: {:.1e} in the first 100\n"
        "steps, {:.1e} in all {}.\n",
        largest_loss_difference(*tune, *eval, 100), largest_loss_difference(*tune, *eval),
        std::min(tune->loss.size(), eval->loss.size()));
  }
  return text;
}

nlohmann::json to_json(const Comparison& comparison, const CompareOptions& options) {
  nlohmann::json modes = nlohmann::json::object();
  for (const ModeResult& result : comparison.modes) {
    nlohmann::json losses = nlohmann::json::array();
    for (const double loss : result.loss) losses.push_back(number(loss));
    modes[to_string(result.mode)] = {{"ms", number(result.step_milliseconds())},
                                     {"saved_bytes", result.memory.saved_bytes},
                                     {"peak_bytes", result.memory.peak_bytes},
                                     {"loss", losses},
                                     {"accuracy_before", number(result.accuracy_before)},
                                     {"accuracy_after", number(result.accuracy_after)},
                                     {"diverged", result.diverged}};
  }
  nlohmann::json settings = settings_json(options.run);
  settings.update({{"program", "compare_modes"},
                   {"source", comparison.pretrained.source},
                   {"target", comparison.target},
                   {"pretrain_epochs", options.pretrain_epochs},
                   {"pretrain_lr", options.pretrain_lr},
                   {"epochs", options.epochs},
                   {"steps", options.steps},
                   {"lr", options.lr},
                   {"momentum", options.momentum},
                   {"weight_decay", options.weight_decay}});
  nlohmann::json json = {{"settings", settings},
                         {"source_accuracy", number(comparison.pretrained.source_accuracy)},
                         {"interrupted", comparison.interrupted},
                         {"modes", modes}};
  const ModeResult* eval = comparison.find(Mode::eval);
  const ModeResult* tune = comparison.find(Mode::tune);
  if (eval != nullptr && tune != nullptr) {
    json["tune_against_eval"] = {
        {"loss_difference_100_steps", number(largest_loss_difference(*tune, *eval, 100))},
        {"loss_difference", number(largest_loss_difference(*tune, *eval))}};
  }
  return json;
}

}  // namespace attune::examples
