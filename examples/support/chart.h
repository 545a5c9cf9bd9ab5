#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Charts as SVG text, to stand inside an HTML page (see html_report.h, which brings the styles).
// Colours are CSS classes, so that a chart follows the page's light or dark theme; hovering over a
// mark shows its numbers, without any script.

namespace attune::examples {

enum class Scale : std::uint8_t { linear, logarithmic };

struct Axis {
  std::string title = {};
  Scale scale = Scale::linear;
  /// The values are whole numbers, and so shall be those along the axis.
  bool whole = false;
};

/// At most kSeriesColors different colours: 0, 1, ... .
inline constexpr int kSeriesColors = 6;

struct LineSeries {
  std::string name = {};
  std::vector<double> x = {};
  /// As many as x. The line has a gap where a value is not finite (or, on a logarithmic axis, not
  /// positive).
  std::vector<double> y = {};
  int color = 0;
  bool dashed = false;
  /// In pixels. A dashed line over a wide one shows that two series coincide.
  double width = 2;
};

struct LineChart {
  Axis x_axis = {};
  Axis y_axis = {};
  std::vector<LineSeries> series = {};
};

struct BarSeries {
  std::string name = {};
  /// One for each group; a value that is not finite leaves a gap.
  std::vector<double> values = {};
  int color = 0;
};

/// Groups of bars side by side. Names too long for one line are broken after their first comma.
/// Bars start at zero, so that their lengths can be compared.
struct BarChart {
  std::string y_title = {};
  std::vector<std::string> groups = {};
  std::vector<BarSeries> series = {};
  /// Digits after the point in the numbers above the bars; -1 for no numbers. Where bars are too
  /// narrow for them, there are fewer, or none.
  int label_digits = 1;
  std::string x_title = {};
  /// What hovering calls the groups; empty: as in `groups`.
  std::vector<std::string> long_names = {};
};

/// `text` with the characters escaped that mean something in XML and HTML.
std::string escape_xml(const std::string& text);

/// About `wanted` round numbers (1, 2 or 5 times a power of ten apart) that begin at or below `low`
/// and end at or above `high`. Needs low <= high, both finite. They are at least `min_step` apart.
std::vector<double> nice_ticks(double low, double high, int wanted, double min_step = 0);

/// Powers of ten that enclose [low, high], at most `wanted` steps; 0 < low <= high.
std::vector<double> log_ticks(double low, double high, int wanted);

/// Numbers as axes show them, with equally many digits after the point: "0", "2,500"; "0.5", "1.0".
std::vector<std::string> tick_labels(const std::vector<double>& ticks);

/// 10 to the power `exponent`, with a raised exponent: "10⁻⁶".
std::string power_of_ten(int exponent);

/// "4.2 × 10⁻⁶" for 4.2e-6.
std::string scientific(double value);

/// A number with separated thousands and `digits` digits after the point: "12,345.7".
std::string with_thousands(double value, int digits);

/// Throws Error if a series is not as long as it should be.
std::string to_svg(const LineChart& chart);
std::string to_svg(const BarChart& chart);
/// The same with a row for each group, in which bars lie: for many groups, or long names. No
/// numbers stand beside the bars.
std::string to_svg_rows(const BarChart& chart);

}  // namespace attune::examples
