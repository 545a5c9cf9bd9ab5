#include "support/figures.h"

#include <attune/layers/conv_bn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "support/chart.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

// More rows would be longer than a screen is high.
constexpr std::size_t kMaxLayers = 40;

/// The value that a share of `sorted` lies below.
double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

/// "0.18", "2.3 × 10⁻⁴".
std::string short_number(double value) {
  return value >= 0.001 && value < 10'000 ? fmt::format("{:.2g}", value) : scientific(value);
}

}  // namespace

std::string capitalized(Mode mode) {
  std::string name = to_string(mode);
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

int color_of(Mode mode) { return static_cast<int>(mode); }

double in_mebibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::vector<double> squared_scales(const Module& net) {
  std::vector<double> squares;
  net.for_each_module([&](const std::string&, const Module& module) {
    const auto* block = dynamic_cast<const ConvBN*>(&module);
    if (block == nullptr) return;
    for (const double scale : block->folding_scale().to_vector<double>()) {
      squares.push_back(scale * scale);
    }
  });
  return squares;
}

BarChart scale_chart(const std::vector<double>& squared_scales) {
  // Bars four to a power of ten; what lies outside is counted in the outermost.
  constexpr int kLowest = -6, kHighest = 2, kFine = 4, kBars = kFine * (kHighest - kLowest);
  std::array<double, kBars> counts{};
  for (const double square : squared_scales) {
    const double position = kFine * (std::log10(std::max(square, 1e-300)) - kLowest);
    counts[static_cast<std::size_t>(std::clamp(position, 0.0, kBars - 1.0))] += 1;
  }
  BarChart chart{.y_title = "channels", .label_digits = -1, .x_title = "s² = γ² / (σ² + ε)"};
  for (int bar = 0; bar < kBars; ++bar) {
    const auto edge = [&](int side) {
      return short_number(std::pow(10, kLowest + static_cast<double>(bar + side) / kFine));
    };
    chart.groups.push_back(bar % kFine == 0 ? power_of_ten(kLowest + bar / kFine) : "");
    chart.long_names.push_back(fmt::format("s² from {} to {}", edge(0), edge(1)));
  }
  chart.series.push_back(
      {.name = "channels", .values = {counts.begin(), counts.end()}, .color = 3});
  return chart;
}

void add_scale_figure(HtmlReport& page, const std::vector<double>& squared_scales,
                      const std::string& whose) {
  if (squared_scales.empty()) return;
  std::vector<double> sorted = squared_scales;
  std::sort(sorted.begin(), sorted.end());
  page.add_figure(
      fmt::format("s² of all {} channels of {}",
                  with_thousands(static_cast<double>(sorted.size()), 0), whose),
      to_svg(scale_chart(squared_scales)),
      fmt::format(
          "Nine in ten lie between {} and {}; the median is {}. The outermost bars also hold what "
          "lies beyond them: s² is zero where γ is.",
          short_number(quantile(sorted, 0.05)), short_number(quantile(sorted, 0.95)),
          short_number(quantile(sorted, 0.5))));
  page.add_paragraph(
      "Why training in Deploy is unstable: Deploy trains the folded filter w′ = s·w itself. In "
      "Eval and Tune, a step of gradient descent with rate η moves w by −η s ∂L/∂w′, since the "
      "chain rule brings in s, and so the folded filter by s times that, −η s² ∂L/∂w′ (γ's own "
      "step left aside). Deploy moves it by −η ∂L/∂w′. So Deploy is Eval with the learning rate of "
      "each channel's filter multiplied by 1/s², while the biases learn at the common rate. A "
      "channel with small s² takes steps that are too long by as many powers of ten as the "
      "histogram shows, and no single rate suits all channels.");
}

void add_saved_bytes_figure(HtmlReport& page, const ModeReports& reports, std::int64_t batch) {
  const std::vector<LayerBytes> layers = by_layer(reports, kMaxLayers);
  if (layers.empty()) return;
  BarChart chart{.y_title = "MiB"};
  for (const LayerBytes& layer : layers) chart.groups.push_back(layer.name);
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    BarSeries series{.name = capitalized(kModes[i]), .color = color_of(kModes[i])};
    for (const LayerBytes& layer : layers) series.values.push_back(in_mebibytes(layer.bytes[i]));
    chart.series.push_back(series);
    const double ratio = static_cast<double>(reports[i].saved_bytes) /
                         static_cast<double>(reports[1].saved_bytes);  // 1: Eval
    rows.push_back(
        {to_string(kModes[i]), mebibytes(reports[i].saved_bytes), fmt::format("{:.2f}", ratio)});
  }
  page.add_figure(
      "What each layer keeps for the backward pass", to_svg_rows(chart),
      fmt::format("Counted for a step on {} images, without weights and images; what two layers "
                  "keep together is counted at the first. A convolution's input is what all modes "
                  "keep. Train and Eval also keep its output, which the normalisation's gradient "
                  "needs; Tune folds the normalisation into the filter, and so does without.",
                  with_thousands(static_cast<double>(batch), 0)));
  page.add_table({"mode", "MiB kept", "/eval"}, rows);
}

}  // namespace attune::examples
