#include "attune/data/synthetic_shapes.h"

#include <cmath>
#include <map>
#include <set>

#include "attune/core/device.h"
#include "attune/core/error.h"
#include "attune/data/shape_distance.h"
#include "attune/data/transforms.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::Domain;
using attune::Point;
using attune::ShapeClass;
using attune::Split;
using attune::SyntheticShapes;
using attune::test::message_of;

namespace {

using Pixels = std::vector<std::uint8_t>;

std::vector<Pixels> images(const attune::Dataset& dataset) {
  std::vector<Pixels> result;
  for (std::int64_t i = 0; i < dataset.size(); ++i) result.push_back(dataset.get(i).image.pixels);
  return result;
}

}  // namespace

TEST_CASE("Synthetic shapes come in ten classes of equal size") {
  const SyntheticShapes dataset(Domain::source, Split::train, 200);
  REQUIRE(dataset.size() == 200);
  CHECK(dataset.image_size() == attune::ImageSize{32, 32, 3});
  REQUIRE(dataset.classes().size() == 10);
  CHECK(std::set(dataset.classes().begin(), dataset.classes().end()).size() == 10);
  CHECK(dataset.classes()[5] == "star");
  std::map<std::int64_t, int> counts;
  for (std::int64_t i = 0; i < dataset.size(); ++i) ++counts[dataset.label(i)];
  REQUIRE(counts.size() == 10);
  for (const auto& [label, count] : counts) CHECK(count == 20);
  CHECK(dataset.sample_name(7) == "SyntheticShapes source train image 7");
}

TEST_CASE("A synthetic image depends on domain, split, seed and index alone") {
  const auto expected = images(SyntheticShapes(Domain::source, Split::train, 40, 5));
  CHECK(std::set(expected.begin(), expected.end()).size() == 40);
  CHECK(images(SyntheticShapes(Domain::source, Split::train, 40, 5)) == expected);

  const auto more = images(SyntheticShapes(Domain::source, Split::train, 60, 5));
  CHECK(std::vector(more.begin(), more.begin() + 40) == expected);

  const int threads = attune::num_threads();
  for (const int count : {1, 3}) {
    attune::set_num_threads(count);
    CHECK(images(SyntheticShapes(Domain::source, Split::train, 40, 5)) == expected);
  }
  attune::set_num_threads(threads);

  // Any other argument gives images none of which is among these.
  for (const auto& others : {images(SyntheticShapes(Domain::source, Split::train, 40, 6)),
                             images(SyntheticShapes(Domain::source, Split::test, 40, 5)),
                             images(SyntheticShapes(Domain::target, Split::train, 40, 5))}) {
    std::set<Pixels> all(expected.begin(), expected.end());
    all.insert(others.begin(), others.end());
    CHECK(all.size() == 80);
  }
}

TEST_CASE("The two domains have different statistics") {
  const auto source =
      attune::channel_statistics(SyntheticShapes(Domain::source, Split::train, 2000));
  const auto target =
      attune::channel_statistics(SyntheticShapes(Domain::target, Split::train, 2000));
  const attune::ChannelStatistics constants = attune::synthetic_shapes_statistics();
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(source.mean[c] - constants.mean[c]) <= 0.01);
    CHECK(std::abs(source.deviation[c] - constants.deviation[c]) <= 0.01);
    CHECK(target.deviation[c] <= 0.9 * source.deviation[c]);  // less contrast
  }
  // Lighter, and yellowish.
  CHECK(target.mean[0] - source.mean[0] >= 0.1);
  CHECK(target.mean[1] - source.mean[1] >= 0.1);
  CHECK(target.mean[1] - target.mean[2] >= 0.2);
}

TEST_CASE("Numbers of synthetic images below zero are refused") {
  CHECK(SyntheticShapes(Domain::source, Split::train, 0).size() == 0);
  CHECK(message_of<attune::Error>([] { SyntheticShapes(Domain::target, Split::test, -1); }) ==
        "SyntheticShapes target test: -1 images asked for");
}

TEST_CASE("Every shape lies within the unit circle and has the area it should") {
  // Areas by geometry. The star: ten triangles between centre, tip (radius 1) and notch (0.42),
  // with an angle of pi / 5. The crescent: a circle of radius 0.95 less its intersection with one
  // of 0.75 whose centre is 0.45 away (the lens formula).
  const double pi = std::acos(-1.0);
  const auto lens = [](double r, double s, double d) {
    const double a = std::acos((d * d + r * r - s * s) / (2 * d * r));
    const double b = std::acos((d * d + s * s - r * r) / (2 * d * s));
    return r * r * (a - std::sin(2 * a) / 2) + s * s * (b - std::sin(2 * b) / 2);
  };
  const std::map<ShapeClass, double> areas{
      {ShapeClass::disc, pi * 0.9 * 0.9},
      {ShapeClass::ring, pi * (0.94 * 0.94 - 0.5 * 0.5)},
      {ShapeClass::square, 1.56 * 1.56},
      {ShapeClass::triangle, 3 * std::sqrt(3.0) / 4},
      {ShapeClass::cross, 2 * 1.9 * 0.6 - 0.6 * 0.6},
      {ShapeClass::star, 10 * 0.5 * 0.42 * std::sin(pi / 5)},
      {ShapeClass::crescent, pi * 0.95 * 0.95 - lens(0.95, 0.75, 0.45)},
      {ShapeClass::half_disc, pi * 0.95 * 0.95 / 2},
  };
  constexpr int kSteps = 1000;
  constexpr double kReach = 1.25;
  for (int k = 0; k < attune::kShapeClasses; ++k) {
    const auto shape = static_cast<ShapeClass>(k);
    INFO(attune::shape_class_names()[static_cast<std::size_t>(k)]);
    std::int64_t inside = 0;
    double furthest = 0;
    for (int i = 0; i < kSteps * kSteps; ++i) {
      const int column = i % kSteps, row = i / kSteps;
      const double x = kReach * (2 * (column + 0.5) / kSteps - 1);
      const double y = kReach * (2 * (row + 0.5) / kSteps - 1);
      const Point p{static_cast<float>(x), static_cast<float>(y)};
      if (attune::shape_distance(shape, p, 1) >= 0) continue;
      ++inside;
      furthest = std::max(furthest, std::hypot(x, y));
    }
    const double area =
        static_cast<double>(inside) * 4 * kReach * kReach / (double{kSteps} * kSteps);
    CHECK(furthest <= 1.11);  // the corners of the square
    // Stripes and checks cover about half of their disc.
    const auto known = areas.find(shape);
    if (known == areas.end()) {
      CHECK(std::abs(area / (pi * 0.95 * 0.95) - 0.5) <= 0.1);
    } else {
      CHECK(std::abs(area - known->second) <= 0.01);
    }
  }
}

TEST_CASE("Distance from a segment") {
  const Point begin{1, 1};
  const Point end{5, 1};
  CHECK(attune::segment_distance({3, 4}, begin, end) == 3);
  CHECK(attune::segment_distance({-2, 5}, begin, end) == 5);
  CHECK(attune::segment_distance({8, -3}, begin, end) == 5);
}
