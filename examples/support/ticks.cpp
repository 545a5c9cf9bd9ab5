#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "support/chart.h"

namespace attune::examples {
namespace {

// Ticks are integers times a step. Their count is limited by `wanted`, and so is this rounding's
// job: 0.1 + 0.2 must not move a tick up by one.
constexpr double kTickSlack = 1e-9;

// The smallest of 1, 2, 5, 10, ... times a power of ten that is at least `step`.
double round_up_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - kTickSlack)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int wanted, double min_step) {
  if (low == high) {  // widen, so that there is a range at all
    const double margin = low == 0 ? 1 : std::abs(low) / 2;
    low -= margin;
    high += margin;
  }
  const double step = round_up_step(std::max(min_step, (high - low) / std::max(wanted, 1)));
  const double first = std::floor(low / step + kTickSlack);
  const double last = std::ceil(high / step - kTickSlack);
  std::vector<double> ticks;
  for (double i = first; i <= last; ++i) ticks.push_back(i * step + 0.0);  // + 0.0: no "-0"
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int wanted) {
  auto first = static_cast<int>(std::floor(std::log10(low) + kTickSlack));
  auto last = static_cast<int>(std::ceil(std::log10(high) - kTickSlack));
  if (first >= last) last = first + 1;
  const int decades = (last - first + wanted - 1) / std::max(wanted, 1);
  std::vector<double> ticks;
  for (int exponent = first; exponent < last + decades; exponent += decades) {
    ticks.push_back(std::pow(10.0, exponent));
  }
  return ticks;
}

std::string with_thousands(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", std::abs(value), digits);
  const bool negative = value < 0 && text.find_first_not_of("0.") != std::string::npos;
  const std::size_t point = std::min(text.find('.'), text.size());
  for (std::size_t i = point; i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return fmt::format("{}{}", negative ? "\u2212" : "", text);
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks) {
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
  const int digits = std::clamp(static_cast<int>(-std::floor(std::log10(step) + kTickSlack)), 0, 9);
  std::vector<std::string> labels;
  labels.reserve(ticks.size());
  for (const double tick : ticks) labels.push_back(with_thousands(tick, digits));
  return labels;
}

std::string power_of_ten(int exponent) {
  static const char* const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = "10";
  if (exponent < 0) text += "⁻";
  for (const char digit : std::to_string(std::abs(exponent))) text += raised[digit - '0'];
  return text;
}

std::string scientific(double value) {
  if (value == 0) return "0";
  std::string text = fmt::format("{:.1e}", value);  // such as "4.2e-06"
  const std::size_t e = text.find('e');
  if (e == std::string::npos) return text;
  return fmt::format("{} × {}", text.substr(0, e), power_of_ten(std::stoi(text.substr(e + 1))));
}

}  // namespace attune::examples
