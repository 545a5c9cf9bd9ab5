#include "attune/data/shape_distance.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace attune {
namespace {

constexpr float kPi = std::numbers::pi_v<float>;

// With signed distances, min is the union of two shapes, max the intersection, and a minus sign
// the complement.

float disc(const Point& p, float radius) { return std::hypot(p.x, p.y) - radius; }

float box(const Point& p, float half_width, float half_height) {
  return std::max(std::abs(p.x) - half_width, std::abs(p.y) - half_height);
}

float triangle(const Point& p) {
  // The half-planes of three sides; each is half the circumradius away from the centre.
  const float slanted = std::abs(p.x) * std::sqrt(3.0f) / 2 - p.y / 2;
  return std::max(slanted, p.y) - 0.5f;
}

float star(const Point& p) {
  constexpr float kInner = 0.42f;         // radius of the notches; the tips have 1
  constexpr float kHalfSector = kPi / 5;  // from a tip to the next notch
  // Folds the plane so that all ten sides come to lie on the one between tip and notch.
  const float angle = std::remainder(std::atan2(p.x, p.y), 2 * kHalfSector);
  const float radius = std::hypot(p.x, p.y);
  const Point folded{radius * std::cos(angle), radius * std::abs(std::sin(angle))};
  const Point side{kInner * std::cos(kHalfSector) - 1, kInner * std::sin(kHalfSector)};
  const float cross = side.x * folded.y - side.y * (folded.x - 1);
  return -cross / std::hypot(side.x, side.y);
}

// Distance from the stripes |x - k * period| < period / 4, for all integers k.
float stripes(float x, float period) { return std::abs(std::remainder(x, period)) - period / 4; }

float checks(const Point& p, float period) {
  const float a = stripes(p.x, period);
  const float b = stripes(p.y, period);
  return std::max(std::min(a, b), -std::max(a, b));  // in one set of stripes, but not in both
}

}  // namespace

std::vector<std::string> shape_class_names() {
  return {"disc", "ring",     "square",    "triangle", "cross",
          "star", "crescent", "half disc", "stripes",  "checks"};
}

float shape_distance(ShapeClass shape, const Point& p, float pitch) {
  switch (shape) {
    case ShapeClass::disc:
      return disc(p, 0.9f);
    case ShapeClass::ring:
      return std::abs(disc(p, 0.72f)) - 0.22f;
    case ShapeClass::square:
      return box(p, 0.78f, 0.78f);
    case ShapeClass::triangle:
      return triangle(p);
    case ShapeClass::cross:
      return std::min(box(p, 0.95f, 0.3f), box(p, 0.3f, 0.95f));
    case ShapeClass::star:
      return star(p);
    case ShapeClass::crescent:
      return std::max(disc(p, 0.95f), -disc({p.x - 0.45f, p.y}, 0.75f));
    case ShapeClass::half_disc:
      return std::max(disc({p.x, p.y + 0.4f}, 0.95f), -(p.y + 0.4f));
    case ShapeClass::stripes:
      return std::max(disc(p, 0.95f), stripes(p.x, 0.6f * pitch));
    case ShapeClass::checks:
      break;
  }
  return std::max(disc(p, 0.95f), checks(p, pitch));
}

float segment_distance(const Point& p, const Point& begin, const Point& end) {
  const Point along{end.x - begin.x, end.y - begin.y};
  const Point offset{p.x - begin.x, p.y - begin.y};
  const float squared_length = along.x * along.x + along.y * along.y;
  const float projection = (offset.x * along.x + offset.y * along.y) / squared_length;
  const float t = std::clamp(projection, 0.0f, 1.0f);
  return std::hypot(offset.x - t * along.x, offset.y - t * along.y);
}

}  // namespace attune
