#include "support/chart.h"

#include <attune/core/error.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>

namespace attune::examples {
namespace {

// The drawing, in units that are pixels on a page wide enough.
constexpr double kWidth = 720, kHeight = 340;
constexpr double kLeft = 68, kRight = 16, kTop = 44, kBottom = 52;
constexpr double kPlotWidth = kWidth - kLeft - kRight;

// Text cannot be measured without a font. This is the mean advance of a sans-serif letter at the
// chart's 13 px, near enough to space a legend.
constexpr double kLetterWidth = 7.2;

// Lines finer than this cannot be told apart on the page, nor can more points be hovered over.
constexpr std::size_t kMaxHoverPoints = 80;
// A line through no more points than this shows them as dots.
constexpr std::size_t kMaxDots = 40;

// Between the two lines of a long name below a group of bars.
constexpr double kNameLine = 16;

// Of a chart with rows: a bar, and the space between two rows.
constexpr double kRowBar = 6, kRowGap = 8;

/// Maps values to one axis of the drawing, and labels it.
class Ruler {
 public:
  /// `from` and `to` are the drawing's coordinates of the smallest and the largest tick.
  Ruler(const Axis& axis, double low, double high, int wanted, double from, double to)
      : scale_(axis.scale), from_(from), to_(to) {
    if (scale_ == Scale::linear) {
      ticks = nice_ticks(low, high, wanted, axis.whole ? 1 : 0);
      labels = tick_labels(ticks);
    } else {
      ticks = log_ticks(low, high, wanted);
      for (const double tick : ticks) {
        labels.push_back(power_of_ten(static_cast<int>(std::lround(std::log10(tick)))));
      }
    }
    low_ = transform(ticks.front());
    high_ = transform(ticks.back());
  }
  /// Ends the axis exactly at `low` and `high`, and drops the ticks outside.
  void trim(double low, double high) {
    for (std::size_t i = ticks.size(); i-- > 0;) {
      if (ticks[i] >= low && ticks[i] <= high) continue;
      ticks.erase(ticks.begin() + static_cast<std::ptrdiff_t>(i));
      labels.erase(labels.begin() + static_cast<std::ptrdiff_t>(i));
    }
    low_ = transform(low);
    high_ = transform(high);
  }

  double operator()(double value) const {
    return from_ + (transform(value) - low_) / (high_ - low_) * (to_ - from_);
  }

  std::vector<double> ticks;
  std::vector<std::string> labels;

 private:
  double transform(double value) const {
    return scale_ == Scale::linear ? value : std::log10(value);
  }

  Scale scale_;
  double from_, to_;
  double low_, high_;
};

bool can_show(const Axis& axis, double value) {
  return std::isfinite(value) && (axis.scale == Scale::linear || value > 0);
}

struct Range {
  double low = 0, high = 1;
};

/// What `values` span on an axis; `range` grows. Nothing to show leaves it empty.
void extend(std::optional<Range>& range, const Axis& axis, const std::vector<double>& values) {
  for (const double value : values) {
    if (!can_show(axis, value)) continue;
    if (!range) range = Range{value, value};
    range->low = std::min(range->low, value);
    range->high = std::max(range->high, value);
  }
}

Range or_default(const std::optional<Range>& range, const Axis& axis) {
  return range.value_or(axis.scale == Scale::linear ? Range{0, 1} : Range{0.1, 1});
}

std::string text(double x, double y, std::string_view style, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, style,
                     escape_xml(content));
}

std::string line(double x1, double y1, double x2, double y2, std::string_view style) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2,
      y2, style);
}

std::string open_svg(const std::string& description, double height = kHeight) {
  return fmt::format(
      "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" "
      "xmlns=\"http://www.w3.org/2000/svg\">\n",
      kWidth, height, escape_xml(description));
}

/// Grid lines and labels of the vertical axis, and its title above them.
std::string draw_y_axis(const std::string& title, const Ruler& y) {
  std::string svg = text(4, 20, "axis-title start", title);
  for (std::size_t i = 0; i < y.ticks.size(); ++i) {
    const double at = y(y.ticks[i]);
    svg += line(kLeft, at, kWidth - kRight, at, i == 0 ? "axis" : "grid");
    svg += text(kLeft - 8, at + 4, "tick end", y.labels[i]);
  }
  return svg;
}

std::string draw_x_title(const std::string& title, double height = kHeight) {
  return text(kLeft + kPlotWidth / 2, height - 10, "axis-title middle", title);
}

double width_of(const std::string& text) { return static_cast<double>(text.size()) * kLetterWidth; }

struct LegendEntry {
  std::string name;
  std::string mark;  // SVG around (0, 0), 22 wide
};

/// Right-aligned, above the plot.
std::string draw_legend(const std::vector<LegendEntry>& entries) {
  std::string svg;
  double x = kWidth - kRight;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    x -= width_of(entry->name);
    svg += text(x, 20, "legend start", entry->name);
    x -= 28;
    svg += fmt::format("<g transform=\"translate({:.1f} 16)\">{}</g>\n", x, entry->mark);
    x -= 16;
  }
  return svg;
}

std::string stroke(const LineSeries& series) {
  return fmt::format(R"(class="line s{}" stroke-width="{}"{})", series.color % kSeriesColors,
                     series.width, series.dashed ? R"( stroke-dasharray="5 4")" : "");
}

/// The line, broken where it cannot be shown, and invisible circles that carry the hover texts.
std::string draw_series(const LineChart& chart, const LineSeries& series, const Ruler& x,
                        const Ruler& y) {
  std::string path, points;
  bool pen_is_down = false;
  const std::size_t stride = std::max<std::size_t>(1, series.x.size() / kMaxHoverPoints);
  const bool dots = series.x.size() <= kMaxDots;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!can_show(chart.x_axis, series.x[i]) || !can_show(chart.y_axis, series.y[i])) {
      pen_is_down = false;
      continue;
    }
    const double px = x(series.x[i]), py = y(series.y[i]);
    // "h0": a point between two gaps becomes a dot.
    path +=
        fmt::format("{}{:.1f} {:.1f}{}", pen_is_down ? "L" : "M", px, py, pen_is_down ? "" : "h0");
    pen_is_down = true;
    if (i % stride != 0) continue;
    points += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" class=\"{} s{}\"><title>{}, {} {:g}: {:.4g}"
        "</title></circle>\n",
        px, py, dots ? 3.5 : 5, dots ? "dot" : "hover", series.color % kSeriesColors,
        escape_xml(series.name), escape_xml(chart.x_axis.title), series.x[i], series.y[i]);
  }
  if (path.empty()) return {};
  return fmt::format("<path d=\"{}\" {}/>\n", path, stroke(series)) + points;
}

/// A bar with a rounded upper end, from the axis at `base` up to `top`.
std::string bar_path(double left, double width, double top, double base) {
  const double radius = std::max(0.0, std::min({3.0, width / 2, base - top}));
  return fmt::format(
      "M{:.1f} {:.1f}V{:.1f}q0 {:.1f} {:.1f} {:.1f}h{:.1f}q{:.1f} 0 {:.1f} {:.1f}V{:.1f}z", left,
      base, top + radius, -radius, radius, -radius, width - 2 * radius, radius, radius, radius,
      base);
}

/// The end of the axis: the largest value, or 1 if there is none above zero. Throws Error unless
/// there is a value, and a name, for each group.
double checked_end(const BarChart& chart) {
  std::optional<Range> range = Range{0, 0};
  for (const BarSeries& series : chart.series) {
    if (series.values.size() != chart.groups.size()) {
      throw Error(fmt::format("chart: series '{}' has {} values for {} groups", series.name,
                              series.values.size(), chart.groups.size()));
    }
    extend(range, Axis{}, series.values);
  }
  if (!chart.long_names.empty() && chart.long_names.size() != chart.groups.size()) {
    throw Error(fmt::format("chart: {} long names for {} groups", chart.long_names.size(),
                            chart.groups.size()));
  }
  return range->high > 0 ? range->high : 1;
}

/// What a bar says when it is hovered over.
std::string bar_title(const BarChart& chart, const BarSeries& series, std::size_t group) {
  const auto& names = chart.long_names.empty() ? chart.groups : chart.long_names;
  return fmt::format("<title>{}, {}: {}</title>", escape_xml(series.name), escape_xml(names[group]),
                     with_thousands(series.values[group], std::max(chart.label_digits, 0)));
}

/// Digits after the point in the numbers above bars `pitch` apart: as many of the wanted ones as
/// keep neighbouring numbers apart; -1, which means no numbers, if none does.
int fitting_digits(const BarChart& chart, double pitch) {
  int digits = chart.label_digits;
  for (const BarSeries& series : chart.series) {
    for (const double value : series.values) {
      while (digits >= 0 && std::isfinite(value) &&
             width_of(with_thousands(value, digits)) > pitch) {
        --digits;
      }
    }
  }
  return digits;
}

/// The name of a group, centred at x; if it takes two lines, broken after the first comma.
std::string draw_group_name(const std::string& name, double x, double y, bool two_lines) {
  const std::size_t comma = two_lines ? name.find(", ") : std::string::npos;
  if (comma == std::string::npos) return text(x, y, "tick middle", name);
  return text(x, y, "tick middle", name.substr(0, comma + 1)) +
         text(x, y + kNameLine, "tick middle", name.substr(comma + 2));
}

std::string draw_bar_legend(const BarChart& chart) {
  std::vector<LegendEntry> legend;
  for (const BarSeries& series : chart.series) {
    legend.push_back({series.name, fmt::format("<rect x=\"8\" y=\"-6\" width=\"12\" height=\"12\" "
                                               "rx=\"2\" class=\"bar s{}\"/>",
                                               series.color % kSeriesColors)});
  }
  return legend.size() > 1 ? draw_legend(legend) : "";
}

}  // namespace

std::string escape_xml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string to_svg(const LineChart& chart) {
  std::optional<Range> x_range, y_range;
  for (const LineSeries& series : chart.series) {
    if (series.x.size() != series.y.size()) {
      throw Error(fmt::format("chart: series '{}' has {} x and {} y values", series.name,
                              series.x.size(), series.y.size()));
    }
    extend(x_range, chart.x_axis, series.x);
    extend(y_range, chart.y_axis, series.y);
  }
  const auto [x_low, x_high] = or_default(x_range, chart.x_axis);
  const auto [y_low, y_high] = or_default(y_range, chart.y_axis);
  Ruler x(chart.x_axis, x_low, x_high, 8, kLeft, kWidth - kRight);
  // A line may begin and end at the edges of the plot: no empty space for the sake of round ticks.
  if (x_low < x_high && chart.x_axis.scale == Scale::linear) x.trim(x_low, x_high);
  const Ruler y(chart.y_axis, y_low, y_high, 6, kHeight - kBottom, kTop);

  std::string svg = open_svg(chart.y_axis.title + " against " + chart.x_axis.title);
  svg += draw_y_axis(chart.y_axis.title, y);
  for (std::size_t i = 0; i < x.ticks.size(); ++i) {
    const double at = x(x.ticks[i]);
    svg += line(at, kHeight - kBottom, at, kHeight - kBottom + 5, "axis");
    svg += text(at, kHeight - kBottom + 20, "tick middle", x.labels[i]);
  }
  svg += draw_x_title(chart.x_axis.title);
  std::vector<LegendEntry> legend;
  for (const LineSeries& series : chart.series) {
    svg += draw_series(chart, series, x, y);
    legend.push_back({series.name, fmt::format("<path d=\"M0 0H22\" {}/>", stroke(series))});
  }
  if (legend.size() > 1) svg += draw_legend(legend);
  return svg + "</svg>\n";
}

std::string to_svg(const BarChart& chart) {
  const double base = kHeight - kBottom;
  const Ruler y(Axis{}, 0, checked_end(chart), 5, base, kTop);

  const auto groups = static_cast<double>(std::max<std::size_t>(1, chart.groups.size()));
  const auto bars = static_cast<double>(std::max<std::size_t>(1, chart.series.size()));
  const double group_width = kPlotWidth / groups;
  const double pitch = std::min(group_width * (bars > 1 ? 0.8 : 0.9) / bars, 96.0);
  const int digits = fitting_digits(chart, pitch);
  const bool two_lines =
      std::any_of(chart.groups.begin(), chart.groups.end(), [&](const std::string& name) {
        return width_of(name) > group_width && name.find(", ") != std::string::npos;
      });
  const double height = kHeight + (two_lines ? kNameLine : 0);

  std::string svg = open_svg(chart.y_title, height);
  svg += draw_y_axis(chart.y_title, y);
  if (!chart.x_title.empty()) svg += draw_x_title(chart.x_title, height);
  for (std::size_t g = 0; g < chart.groups.size(); ++g) {
    const double middle = kLeft + (static_cast<double>(g) + 0.5) * group_width;
    svg += draw_group_name(chart.groups[g], middle, base + 20, two_lines);
    for (std::size_t s = 0; s < chart.series.size(); ++s) {
      const BarSeries& series = chart.series[s];
      const double value = series.values[g];
      if (!std::isfinite(value)) continue;
      const double left = middle + (static_cast<double>(s) - bars / 2) * pitch + pitch * 0.06;
      const double top = y(std::max(value, 0.0));
      svg += fmt::format("<path d=\"{}\" class=\"bar s{}\">{}</path>\n",
                         bar_path(left, pitch * 0.88, top, base), series.color % kSeriesColors,
                         bar_title(chart, series, g));
      if (digits >= 0) {
        svg += text(left + pitch * 0.44, top - 6, "value middle", with_thousands(value, digits));
      }
    }
  }
  return svg + draw_bar_legend(chart) + "</svg>\n";
}

std::string to_svg_rows(const BarChart& chart) {
  std::size_t longest = 0;
  for (const std::string& group : chart.groups) longest = std::max(longest, group.size());
  const double left = 16 + static_cast<double>(longest) * kLetterWidth;
  const double row = static_cast<double>(chart.series.size()) * kRowBar + kRowGap;
  const double bottom = kTop + static_cast<double>(chart.groups.size()) * row;
  const Ruler x(Axis{}, 0, checked_end(chart), 6, left, kWidth - kRight);

  std::string svg = open_svg(chart.y_title, bottom + 28);
  svg += text(4, 20, "axis-title start", chart.y_title);
  for (std::size_t i = 0; i < x.ticks.size(); ++i) {
    const double at = x(x.ticks[i]);
    svg += line(at, kTop - 4, at, bottom, i == 0 ? "axis" : "grid");
    svg += text(at, bottom + 20, "tick middle", x.labels[i]);
  }
  for (std::size_t g = 0; g < chart.groups.size(); ++g) {
    double top = kTop + static_cast<double>(g) * row;
    svg += text(left - 8, top + (row - kRowGap) / 2 + 4, "tick end", chart.groups[g]);
    for (const BarSeries& series : chart.series) {
      const double value = series.values[g];
      if (std::isfinite(value)) {
        svg += fmt::format(
            "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" class=\"bar "
            "s{}\">{}</rect>\n",
            left, top, x(std::max(value, 0.0)) - left, kRowBar - 1, series.color % kSeriesColors,
            bar_title(chart, series, g));
      }
      top += kRowBar;
    }
  }
  return svg + draw_bar_legend(chart) + "</svg>\n";
}

}  // namespace attune::examples
