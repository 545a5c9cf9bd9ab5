#include "paper/rows.h"

#include <attune/layers/mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <utility>

namespace attune::examples {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

std::vector<double> numbers(const std::vector<Row>& rows, const std::string& field) {
  std::vector<double> values;
  for (const Row& row : rows) {
    const double value = number(row, field);
    if (!std::isnan(value)) values.push_back(value);
  }
  return values;
}

}  // namespace

double number(const Row& row, const std::string& field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_number() ? found->get<double>() : kNotMeasured;
}

std::vector<Row> where(const std::vector<Row>& rows, const Row& wanted) {
  std::vector<Row> selected;
  for (const Row& row : rows) {
    bool fits = true;
    for (const auto& [field, value] : wanted.items()) {
      fits = fits && row.contains(field) && row[field] == value;
    }
    if (fits) selected.push_back(row);
  }
  return selected;
}

std::vector<Group> group_by(const std::vector<Row>& rows, const std::vector<std::string>& fields) {
  std::vector<Group> groups;
  for (const Row& row : rows) {
    Row key = Row::object();
    for (const std::string& field : fields) key[field] = row.value(field, Row());
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& other) { return other.key == key; });
    if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
    group->rows.push_back(row);
  }
  return groups;
}

Spread spread(const std::vector<Row>& rows, const std::string& field) {
  const std::vector<double> values = numbers(rows, field);
  if (values.empty()) return {.mean = kNotMeasured};
  const auto count = static_cast<double>(values.size());
  Spread result{.count = values.size()};
  for (const double value : values) result.mean += value / count;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  if (count > 1) result.deviation = std::sqrt(squares / (count - 1));
  return result;
}

bool agree(const Spread& a, const Spread& b, double tolerance) {
  return std::abs(a.mean - b.mean) <= std::max({a.deviation, b.deviation, tolerance});
}

double largest(const std::vector<Row>& rows, const std::string& field) {
  const std::vector<double> values = numbers(rows, field);
  if (values.empty() || values.size() < rows.size()) return kNotMeasured;
  return *std::max_element(values.begin(), values.end());
}

double median(const std::vector<Row>& rows, const std::string& field) {
  return median(numbers(rows, field));
}

std::string percent(const Spread& spread) {
  if (spread.count <= 1) return percent(spread.mean);
  return fmt::format("{:.1f} ± {:.1f} %", 100 * spread.mean, 100 * spread.deviation);
}

std::string ratio_text(double value, double reference) {
  const double ratio = value / reference;
  return std::isfinite(ratio) ? fmt::format("{:.2f}", ratio) : "-";
}

std::string saving(double value, double reference) {
  return fmt::format("−{:.1f} %", 100 * (1 - value / reference));
}

double time_ratio(const std::vector<Row>& runs, const std::vector<Row>& eval) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    ratios.push_back(number(runs[i], "ms") / number(eval.at(i), "ms"));
  }
  return median(std::move(ratios));
}

std::string capitalized(std::string name) {
  if (!name.empty()) {
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
  }
  return name;
}

int color_of(const std::string& mode) {
  for (const Mode known : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
    if (mode == to_string(known)) return static_cast<int>(known);
  }
  return static_cast<int>(Mode::deploy) + 1;
}

}  // namespace attune::examples
