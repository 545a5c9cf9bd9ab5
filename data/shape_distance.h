#pragma once

#include <string>
#include <vector>

namespace attune {

struct Point {
  float x = 0;
  float y = 0;
};

/// What SyntheticShapes draws, in the order of its labels.
enum class ShapeClass {
  disc,
  ring,
  square,
  triangle,
  cross,
  star,
  crescent,
  half_disc,
  stripes,
  checks,
};
inline constexpr int kShapeClasses = 10;

/// "disc", "ring", ...
std::vector<std::string> shape_class_names();

/// Signed distance, negative inside, of `p` from the edge of a shape that fills the unit circle
/// around the origin. Exact near straight and round edges, a bound elsewhere. `pitch` scales the
/// pattern of stripes and checks; at 1 the checks have two periods across the shape.
float shape_distance(ShapeClass shape, const Point& p, float pitch);

/// Distance of `p` from the straight line between `begin` and `end`.
float segment_distance(const Point& p, const Point& begin, const Point& end);

}  // namespace attune
