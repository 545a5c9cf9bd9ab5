#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>

#include "compare_modes/results.h"
#include "support/chart.h"
#include "support/figures.h"
#include "support/html_report.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

// A chart is some 640 pixels wide.
constexpr std::size_t kMaxPoints = 160;

/// How many steps one point of a line stands for.
std::size_t steps_a_point(const Comparison& comparison) {
  std::size_t longest = 0;
  for (const ModeResult& result : comparison.modes) longest = std::max(longest, result.loss.size());
  return (longest + kMaxPoints - 1) / kMaxPoints;
}

using Summarize = std::function<double(double so_far, double value, std::size_t count)>;

/// `values` in groups of `size`, each as one point at its middle. `fold` takes in one value after
/// the other, of which there are `count`.
LineSeries grouped(Mode mode, const std::vector<double>& values, std::size_t size,
                   const Summarize& fold) {
  LineSeries series{.name = capitalized(mode), .color = color_of(mode)};
  for (std::size_t begin = 0; begin < values.size(); begin += size) {
    const std::size_t end = std::min(begin + size, values.size());
    double summary = 0;
    for (std::size_t i = begin; i < end; ++i) summary = fold(summary, values[i], end - begin);
    series.x.push_back(static_cast<double>(begin + end - 1) / 2);
    series.y.push_back(summary);
  }
  return series;
}

std::string group_caption(std::size_t size, const char* what) {
  return size > 1 ? fmt::format(" Each point is the {} of {} steps.", what, size) : "";
}

void add_loss_chart(HtmlReport& page, const Comparison& comparison) {
  const std::size_t size = steps_a_point(comparison);
  LineChart chart{.x_axis = {.title = "step", .whole = true}, .y_axis = {"training loss"}};
  for (const ModeResult& result : comparison.modes) {
    chart.series.push_back(
        grouped(result.mode, result.loss, size, [](double sum, double value, std::size_t count) {
          return sum + value / static_cast<double>(count);
        }));
    // Tune runs exactly on Eval: dashes on a broad band show both.
    if (result.mode == Mode::eval) chart.series.back().width = 7;
    chart.series.back().dashed = result.mode == Mode::tune;
  }
  page.add_figure(
      "Loss while fine-tuning", to_svg(chart),
      "All modes start from the same weights and see the same batches. Tune (dashed) runs on top "
      "of Eval (broad), since both compute the same function and the same gradients. Deploy trains "
      "other parameters and goes its own way; so does Train, whose statistics are those of each "
      "batch." +
          group_caption(size, "mean"));
}

void add_difference_chart(HtmlReport& page, const Comparison& comparison, const ModeResult& eval) {
  const std::size_t size = steps_a_point(comparison);
  LineChart chart{.x_axis = {.title = "step", .whole = true},
                  .y_axis = {"difference of the loss from Eval's, relative", Scale::logarithmic}};
  for (const ModeResult& result : comparison.modes) {
    if (result.mode == Mode::eval) continue;
    std::vector<double> differences;
    for (std::size_t i = 0; i < std::min(result.loss.size(), eval.loss.size()); ++i) {
      differences.push_back(std::abs(result.loss[i] - eval.loss[i]) / std::abs(eval.loss[i]));
    }
    chart.series.push_back(
        grouped(result.mode, differences, size, [](double largest, double value, std::size_t) {
          return value > largest ? value : largest;
        }));
  }
  if (chart.series.empty()) return;
  page.add_figure(
      "How far from Eval", to_svg(chart),
      "Tune differs from Eval by rounding alone, which grows as in any two runs that add "
      "their numbers in different orders. The other modes compute something else. Losses "
      "that are equal to the last bit cannot be shown on this scale." +
          group_caption(size, "largest"));
}

/// One group of bars for each of `groups`, one bar for each mode.
BarChart bars(const Comparison& comparison, std::string title, std::vector<std::string> groups,
              const std::function<std::vector<double>(const ModeResult&)>& values) {
  BarChart chart{.y_title = std::move(title), .groups = std::move(groups)};
  for (const ModeResult& result : comparison.modes) {
    chart.series.push_back({capitalized(result.mode), values(result), color_of(result.mode)});
  }
  return chart;
}

void add_bar_charts(HtmlReport& page, const Comparison& comparison, std::int64_t batch_size) {
  page.add_heading("Cost");
  page.add_figure(
      "Memory of a step",
      to_svg(bars(comparison, "MiB", {"saved for backward", "peak of forward and backward"},
                  [](const ModeResult& result) {
                    return std::vector{in_mebibytes(result.memory.saved_bytes),
                                       in_mebibytes(result.memory.peak_bytes)};
                  })),
      "Left: what the forward pass keeps for the backward pass, without weights and images. Train "
      "and Eval keep the input and the output of every convolution; Tune and Deploy its input "
      "alone. Right: the most that is live at any moment, above weights and images. These are "
      "counted bytes, the same on every machine.");
  add_saved_bytes_figure(page, comparison.kept, batch_size);
  page.add_figure(
      "Time of a step",
      to_svg(
          bars(comparison, "milliseconds, median", {"forward, backward and update"},
               [](const ModeResult& result) { return std::vector{result.step_milliseconds()}; })),
      "The modes took turns on every batch, so that whatever else the machine was doing "
      "fell on all of them.");
  page.add_heading("Result");
  page.add_figure(
      "Accuracy on the target's test images",
      to_svg(bars(comparison, "per cent right", {"before fine-tuning", "after"},
                  [](const ModeResult& result) {
                    return std::vector{100 * result.accuracy_before, 100 * result.accuracy_after};
                  })),
      "Measured with running statistics. Before, all modes are the same function. A "
      "missing bar means that the mode diverged, or was not measured.");
}

std::string change(double value, double reference) {
  const double share = 100 * (value / reference - 1);
  return fmt::format("{}{:.0f} %", share < 0 ? "\u2212" : "+", std::abs(share));
}

void add_highlights(HtmlReport& page, const ModeResult& tune, const ModeResult& eval) {
  std::vector<HtmlReport::Highlight> highlights = {
      {change(static_cast<double>(tune.memory.saved_bytes),
              static_cast<double>(eval.memory.saved_bytes)),
       "bytes kept for backward, Tune against Eval"},
      {change(tune.step_milliseconds(), eval.step_milliseconds()),
       "time of a step, Tune against Eval"},
      {scientific(largest_loss_difference(tune, eval, 100)),
       "largest relative difference of their losses in the first 100 steps"}};
  const double points = 100 * (tune.accuracy_after - eval.accuracy_after);
  if (std::isfinite(points)) {
    highlights.push_back({fmt::format("{}{:.1f}", points < 0 ? "\u2212" : "+", std::abs(points)),
                          "percentage points of test accuracy, Tune against Eval"});
  }
  page.add_highlights(highlights);
}

}  // namespace

std::string to_html(const Comparison& comparison, const CompareOptions& options) {
  HtmlReport page("One network, four modes",
                  fmt::format("{}, {} {} and fine-tuned on {}", options.run.net,
                              options.run.init.empty() ? "pretrained on" : "from",
                              comparison.pretrained.source, comparison.target));
  page.add_paragraph(
      "Every convolution of this network is followed by batch normalisation. The pair can be "
      "computed in four modes (arXiv 2305.11624). Train normalises with the statistics of the "
      "batch. The others use running statistics: Eval normalises the convolution's output, Tune "
      "folds the normalisation into the filter anew in every step and differentiates through the "
      "fold, and Deploy has folded it once and trains the folded filter. Tune is Eval's function "
      "with Eval's gradients, at about Deploy's cost.");
  const ModeResult* eval = comparison.find(Mode::eval);
  const ModeResult* tune = comparison.find(Mode::tune);
  if (eval != nullptr && tune != nullptr && !eval->loss.empty() && !tune->loss.empty()) {
    add_highlights(page, *tune, *eval);
  }
  if (comparison.interrupted) {
    page.add_paragraph("The run was interrupted; this page shows what was measured until then.");
  }
  page.add_heading("Equivalence");
  add_loss_chart(page, comparison);
  if (eval != nullptr) add_difference_chart(page, comparison, *eval);
  add_bar_charts(page, comparison, options.run.batch_size);
  page.add_heading("Instability");
  add_scale_figure(page, comparison.pretrained.squared_scales, "the pretrained network");
  page.add_heading("All numbers");
  const auto [header, rows] = result_table(comparison);
  page.add_table(header, rows);
  page.add_paragraph(table_legend());
  page.add_paragraph(settings_text(comparison, options));
  return page.str();
}

}  // namespace attune::examples
