#include "train_resnet/page.h"

#include <attune/core/device.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>

#include "support/chart.h"
#include "support/figures.h"
#include "support/html_report.h"
#include "support/progress.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

/// A line with one point an epoch.
void add_curve(HtmlReport& page, const TrainingReport& report, const char* title, Axis y_axis,
               const std::function<double(const EpochResult&)>& value, const std::string& caption) {
  LineSeries series{.name = title, .color = color_of(Mode::tune)};
  for (std::size_t i = 0; i < report.epochs.size(); ++i) {
    series.x.push_back(static_cast<double>(i + 1));
    series.y.push_back(value(report.epochs[i]));
  }
  page.add_figure(title,
                  to_svg(LineChart{.x_axis = {.title = "epoch", .whole = true},
                                   .y_axis = std::move(y_axis),
                                   .series = {std::move(series)}}),
                  caption);
}

void add_highlights(HtmlReport& page, const TrainingReport& report, const TrainOptions& options) {
  std::vector<HtmlReport::Highlight> highlights;
  double best = 0;
  for (const EpochResult& epoch : report.epochs) {
    if (epoch.test_accuracy > best) best = epoch.test_accuracy;
  }
  if (best > 0) highlights.push_back({percent(best), "of the test images right, at best"});
  const auto mode = static_cast<std::size_t>(
      std::find(kModes.begin(), kModes.end(), options.chosen_mode()) - kModes.begin());
  highlights.push_back({mebibytes(report.kept[mode].saved_bytes) + " MiB",
                        fmt::format("kept for the backward pass of a step, in {}",
                                    capitalized(options.chosen_mode()))});
  highlights.push_back({duration_text(report.epochs.back().train_seconds), "of training"});
  page.add_highlights(highlights);
}

std::string settings_text(const TrainOptions& options) {
  const RunOptions& run = options.run;
  return fmt::format(
      "{} epochs of batches of {}, SGD with Nesterov momentum {:g} and weight decay {:g}, "
      "one-cycle learning rate up to {:g}, label smoothing {:g}, {}{}, recomputing {},{} seed {}, "
      "{} threads; attune {}.",
      options.epochs, run.batch_size, options.momentum, options.weight_decay, options.chosen_lr(),
      options.label_smoothing, describe(run),
      options.ema > 0 ? fmt::format(", weights averaged with decay {:g}", options.ema) : "",
      to_string(run.recompute), run.keep_bf16 ? " keeping bf16," : "", run.seed, num_threads(),
      version);
}

}  // namespace

std::string to_html(const TrainingReport& report, const TrainOptions& options) {
  HtmlReport page(
      fmt::format("{} on {}", options.run.net, report.task),
      fmt::format("trained {} in mode {}", report.origin, to_string(options.chosen_mode())));
  add_highlights(page, report, options);
  if (report.interrupted) {
    page.add_paragraph(
        "The run was interrupted; this page shows what was measured until then, the last epoch as "
        "far as it went.");
  }
  page.add_heading("Learning");
  add_curve(
      page, report, "Training loss", {.title = "cross-entropy"},
      [](const EpochResult& epoch) { return epoch.train_loss; },
      "The mean over the steps of each epoch, while the weights changed.");
  add_curve(
      page, report, "Test accuracy", {.title = "per cent right"},
      [](const EpochResult& epoch) { return 100 * epoch.test_accuracy; },
      options.ema > 0 ? "After each epoch, with running statistics and averaged weights."
                      : "After each epoch, with running statistics.");
  add_curve(
      page, report, "Learning rate", {.title = "at the end of the epoch"},
      [](const EpochResult& epoch) { return epoch.last_lr; },
      "One cycle: up in the first quarter of the steps, then down to almost nothing.");
  page.add_heading("Memory");
  add_saved_bytes_figure(page, report.kept, options.run.batch_size);
  page.add_heading("Instability");
  add_scale_figure(page, report.squared_scales, "the trained network");
  page.add_heading("All numbers");
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < report.epochs.size(); ++i) {
    const EpochResult& epoch = report.epochs[i];
    rows.push_back({std::to_string(i + 1), loss_text(epoch.train_loss),
                    percent(epoch.test_accuracy), fmt::format("{:.3g}", epoch.last_lr),
                    duration_text(epoch.train_seconds)});
  }
  page.add_table({"epoch", "training loss", "test accuracy", "learning rate", "time"}, rows);
  page.add_paragraph(settings_text(options));
  return page.str();
}

}  // namespace attune::examples
