#include "support/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/examples/xml_check.h"
#include "tests/test_util.h"

using namespace attune;
using namespace attune::examples;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

int occurrences(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

LineChart two_lines() {
  LineChart chart;
  chart.x_axis.title = "step";
  chart.y_axis.title = "loss";
  chart.series = {{"eval", {0, 1, 2}, {3, 2, 1}, 1, false, 5},
                  {"tune", {0, 1, 2}, {3, 2, 1}, 2, true}};
  return chart;
}

}  // namespace

TEST_CASE("nice ticks are round numbers that enclose the range") {
  CHECK(nice_ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(nice_ticks(-1, 1, 4) == std::vector<double>{-1, -0.5, 0, 0.5, 1});
  CHECK(nice_ticks(0, 97, 5) == std::vector<double>{0, 20, 40, 60, 80, 100});
  CHECK(nice_ticks(1234, 1240, 3).front() == 1234);
  CHECK(nice_ticks(0, 2, 8, 1) == std::vector<double>{0, 1, 2});
  test::Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const double scale = std::pow(10, random.real(-6, 6));
    const double low = scale * random.real(-10, 10);
    const double high = low + scale;
    const auto wanted = static_cast<int>(random.integer(3, 10));
    const std::vector<double> ticks = nice_ticks(low, high, wanted);
    INFO(low << " ... " << high << ", " << wanted);
    const double slack = 1e-9 * (high - low) + 1e-12 * std::abs(low);
    CHECK(ticks.front() <= low + slack);
    CHECK(ticks.back() >= high - slack);
    CHECK(static_cast<int>(ticks.size()) <= wanted + 2);
    CHECK(ticks.size() >= 2);
    const double step = ticks[1] - ticks[0];
    const double mantissa = step / std::pow(10, std::floor(std::log10(step * 1.0001)));
    // Far from zero, neighbouring ticks have few digits to differ in.
    const double rounding = 1e-9 + 1e-14 * std::abs(low) / step;
    CHECK(std::min({std::abs(mantissa - 1), std::abs(mantissa - 2), std::abs(mantissa - 5)}) <
          rounding);
  }
}

TEST_CASE("ticks of a range without extent enclose its value") {
  for (const double value : {0.0, 5.0, -0.25}) {
    const std::vector<double> ticks = nice_ticks(value, value, 5);
    CHECK(ticks.front() < value);
    CHECK(ticks.back() > value);
  }
}

TEST_CASE("logarithmic ticks are powers of ten") {
  CHECK(log_ticks(0.02, 30, 6).size() == 5);
  CHECK(log_ticks(1, 1, 6) == std::vector<double>{1, 10});
  const std::vector<double> wide = log_ticks(1e-16, 1, 6);
  CHECK(wide.size() <= 7);
  CHECK(wide.front() <= 1e-16 * 1.000001);
  CHECK(wide.back() >= 1);
}

TEST_CASE("numbers are written as people write them") {
  CHECK(with_thousands(1234567.25, 1) == "1,234,567.2");
  CHECK(with_thousands(999, 0) == "999");
  CHECK(with_thousands(1000, 0) == "1,000");
  CHECK(with_thousands(-1234.5, 1) == "\u22121,234.5");
  CHECK(with_thousands(-0.01, 1) == "0.0");
  CHECK(tick_labels({0, 0.5, 1}) == std::vector<std::string>{"0.0", "0.5", "1.0"});
  CHECK(tick_labels({0, 2000, 4000}) == std::vector<std::string>{"0", "2,000", "4,000"});
  CHECK(tick_labels({0.0, 0.1, 0.1 + 0.1, 0.1 + 0.2}).back() == "0.3");
  CHECK(power_of_ten(-12) == "10⁻¹²");
  CHECK(power_of_ten(0) == "10⁰");
  CHECK(scientific(4.21e-6) == "4.2 × 10⁻⁶");
  CHECK(scientific(0) == "0");
}

TEST_CASE("a line chart is well-formed and shows every series") {
  const std::string svg = to_svg(two_lines());
  CHECK(test::xml_error(svg) == "");
  CHECK(occurrences(svg, "<title>eval, step") == 3);
  CHECK(occurrences(svg, "<title>tune, step 2: 1</title>") == 1);
  CHECK(occurrences(svg, "stroke-dasharray") == 2);  // the line and its legend
  CHECK(occurrences(svg, ">loss<") == 1);
}

TEST_CASE("values that cannot be shown break the line") {
  LineChart chart = two_lines();
  chart.series.resize(1);
  chart.series[0].x = {0, 1, 2, 3, 4, 5};
  chart.series[0].y = {1, 0.5, kNan, 2, kInfinity, 1};
  std::string svg = to_svg(chart);
  CHECK(test::xml_error(svg) == "");
  CHECK(occurrences(svg, "nan") == 0);
  CHECK(occurrences(svg, "inf") == 0);
  CHECK(occurrences(svg, "<title>") == 4);
  chart.y_axis.scale = Scale::logarithmic;
  chart.series[0].y = {1, 0, -1, 1e-6, 1e-5, 1e-4};
  svg = to_svg(chart);
  CHECK(occurrences(svg, "<title>") == 4);
  CHECK(occurrences(svg, "10⁻⁶") == 1);
}

TEST_CASE("a chart without values has axes all the same") {
  LineChart chart = two_lines();
  for (LineSeries& series : chart.series) series.x = series.y = {};
  CHECK(test::xml_error(to_svg(chart)) == "");
  chart.y_axis.scale = Scale::logarithmic;
  CHECK(test::xml_error(to_svg(chart)) == "");
  CHECK(test::xml_error(to_svg(BarChart{"ms", {}, {}, 1, ""})) == "");
  CHECK(test::xml_error(to_svg(BarChart{"ms", {"a"}, {{"tune", {kNan}, 0}}, 1, ""})) == "");
}

TEST_CASE("a long line has few points to hover over") {
  LineChart chart = two_lines();
  chart.series.resize(1);
  chart.series[0].x.clear();
  chart.series[0].y.clear();
  for (int i = 0; i < 5000; ++i) {
    chart.series[0].x.push_back(i);
    chart.series[0].y.push_back(std::sin(i * 0.01));
  }
  CHECK(occurrences(to_svg(chart), "<title>") <= 100);
}

TEST_CASE("a bar chart shows its values") {
  BarChart chart{
      "MiB", {"saved", "peak"}, {{"eval", {100, 150}, 1}, {"tune", {50, 1234.56}, 2}}, 1, ""};
  const std::string svg = to_svg(chart);
  CHECK(test::xml_error(svg) == "");
  CHECK(occurrences(svg, ">1,234.6<") == 1);
  CHECK(occurrences(svg, "<title>tune, peak: 1,234.6</title>") == 1);
  CHECK(occurrences(svg, "<title>tune, saved: 50.0</title>") == 1);
  chart.label_digits = -1;
  CHECK(occurrences(to_svg(chart), "class=\"value") == 0);
}

TEST_CASE("names and numbers that would run into each other are broken, or shortened") {
  const auto chart = [](std::size_t groups) {
    const std::vector<double> values(groups, 66.25);
    return to_svg(BarChart{"per cent",
                           std::vector<std::string>(groups, "resnet20, 100 %, 128"),
                           {{"eval", values, 1}, {"tune", values, 2}, {"deploy", values, 3}},
                           2,
                           ""});
  };
  const std::string few = chart(1), several = chart(6), many = chart(12);
  CHECK(occurrences(few, ">resnet20, 100 %, 128</text>") == 1);
  CHECK(occurrences(few, ">66.25</text>") == 3);
  CHECK(occurrences(several, ">resnet20,</text>") == 6);
  CHECK(occurrences(several, ">100 %, 128</text>") == 6);
  CHECK(occurrences(several, ">66</text>") == 18);
  CHECK(occurrences(several, ">66.2") == 0);
  CHECK(occurrences(many, ">66</text>") == 0);
  CHECK(occurrences(many, "<title>deploy, resnet20, 100 %, 128: 66.25</title>") == 12);
  CHECK(test::xml_error(several) == "");
}

TEST_CASE("a chart of rows shows its values, and is as high as it has rows") {
  BarChart chart{"MiB", {"a", "b"}, {{"eval", {100, 150}, 1}, {"tune", {50, kNan}, 2}}, 1, ""};
  const std::string two = to_svg_rows(chart);
  CHECK(test::xml_error(two) == "");
  CHECK(occurrences(two, "<title>tune, a: 50.0</title>") == 1);
  CHECK(occurrences(two, "<title>") == 3);
  CHECK(occurrences(two, "nan") == 0);
  chart.groups.emplace_back("c < d");
  CHECK_THROWS_AS(to_svg_rows(chart), Error);
  for (BarSeries& series : chart.series) series.values.push_back(1);
  const std::string three = to_svg_rows(chart);
  CHECK(test::xml_error(three) == "");
  const auto height = [](const std::string& svg) {
    return std::stod(svg.substr(svg.find("0 0 720 ") + 8));
  };
  CHECK(height(three) > height(two));
  CHECK(test::xml_error(to_svg_rows(BarChart{"MiB", {}, {}, 1, ""})) == "");
}

TEST_CASE("few points are dots") {
  LineChart chart = two_lines();
  CHECK(occurrences(to_svg(chart), "class=\"dot") == occurrences(to_svg(chart), "<title>"));
  chart.series.resize(1);
  chart.series[0].x.resize(200);
  chart.series[0].y.resize(200, 1);
  CHECK(occurrences(to_svg(chart), "class=\"dot") == 0);
}

TEST_CASE("texts are escaped") {
  LineChart chart = two_lines();
  chart.series[0].name = "<a & \"b\">";
  chart.y_axis.title = "1 < 2 & 3";
  CHECK(test::xml_error(to_svg(chart)) == "");
}

TEST_CASE("series of the wrong length are refused") {
  LineChart lines = two_lines();
  lines.series[0].y.pop_back();
  CHECK_THROWS_AS(to_svg(lines), Error);
  CHECK_THROWS_AS(to_svg(BarChart{"ms", {"a", "b"}, {{"tune", {1}, 0}}, 1, ""}), Error);
  CHECK_THROWS_AS(to_svg(BarChart{"ms", {"a"}, {{"tune", {1}, 0}}, 1, "", {"a", "b"}}), Error);
}

TEST_CASE("the XML check finds what is wrong") {
  CHECK(test::xml_error("<a><b c=\"d\"/>text &amp; more</a>") == "");
  CHECK(test::xml_error("<a><b></a></b>") != "");
  CHECK(test::xml_error("<a>") != "");
  CHECK(test::xml_error("<a b=c/>") != "");
  CHECK(test::xml_error("<a>x & y</a>") != "");
  CHECK(test::xml_error("<a/><b/>") != "");
}
