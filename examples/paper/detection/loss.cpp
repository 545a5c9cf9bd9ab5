#include "paper/detection/loss.h"

#include <attune/core/ops/ops.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace attune::examples {
namespace {

constexpr double kReach = 1.5;  // in strides

/// Distances from (x, y) to the edges of a box, all in strides.
std::array<double, 4> distances_to(const Box& box, double x, double y) {
  return {x - box.left, y - box.top, box.right - x, box.bottom - y};
}

bool belongs(const Box& box, double x, double y) {
  const std::array<double, 4> distances = distances_to(box, x, y);
  return *std::min_element(distances.begin(), distances.end()) > 0 &&
         std::abs(x - (box.left + box.right) / 2) <= kReach &&
         std::abs(y - (box.top + box.bottom) / 2) <= kReach;
}

/// The smallest of the objects that (x, y) belongs to; null if there is none.
const Object* object_at(const std::vector<Object>& objects, double x, double y) {
  const Object* smallest = nullptr;
  for (const Object& object : objects) {
    if (!belongs(object.box, x, y)) continue;
    if (smallest == nullptr || object.box.area() < smallest->box.area()) smallest = &object;
  }
  return smallest;
}

std::vector<Object> scaled(std::vector<Object> objects, double factor) {
  for (auto& [box, label] : objects) {
    box = {box.left * factor, box.top * factor, box.right * factor, box.bottom * factor};
  }
  return objects;
}

Tensor minimum(const Tensor& a, const Tensor& b) { return a - relu(a - b); }

/// Width times height: [..., 1].
Tensor area(const Tensor& distances) {
  const Tensor sides = slice(distances, -1, 0, 2) + slice(distances, -1, 2, 4);
  return slice(sides, -1, 0, 1) * slice(sides, -1, 1, 2);
}

}  // namespace

Targets assign(const Truth& objects, const Shape& output, std::int64_t side, DType dtype) {
  const std::int64_t rows = output[1], columns = output[2], classes = output[3] - 4;
  const double strides_a_pixel = static_cast<double>(rows) / static_cast<double>(side);
  const auto locations = static_cast<std::size_t>(output[0] * rows * columns);
  std::vector<double> labels(locations * static_cast<std::size_t>(classes), 0);
  std::vector<double> distances(locations * 4, 1), inside(locations, 0);
  Targets targets;
  std::size_t location = 0;
  for (const std::vector<Object>& image : objects) {
    const std::vector<Object> in_strides = scaled(image, strides_a_pixel);
    for (std::int64_t p = 0; p < rows; ++p) {
      for (std::int64_t q = 0; q < columns; ++q, ++location) {
        const double x = static_cast<double>(q) + 0.5, y = static_cast<double>(p) + 0.5;
        const Object* const object = object_at(in_strides, x, y);
        if (object == nullptr) continue;
        labels[location * static_cast<std::size_t>(classes) +
               static_cast<std::size_t>(object->label)] = 1;
        const std::array<double, 4> edges = distances_to(object->box, x, y);
        std::copy(edges.begin(), edges.end(), &distances[location * 4]);
        inside[location] = 1;
        ++targets.count;
      }
    }
  }
  const auto tensor = [&](const std::vector<double>& values, std::int64_t channels) {
    return Tensor::from(values, {output[0], rows, columns, channels}).to(dtype);
  };
  targets.classes = tensor(labels, classes);
  targets.distances = tensor(distances, 4);
  targets.inside = tensor(inside, 1);
  return targets;
}

Tensor focal_loss(const Tensor& logits, const Tensor& targets) {
  constexpr double kAlpha = 0.25;
  // With u = -z where the answer is 1, and z where it is 0: 1 - p_t = sigmoid(u) and -log p_t =
  // log(1 + e^u), which in this form neither overflows nor loses digits.
  const Tensor u = logits * (1 - 2 * targets);
  const Tensor surprise = relu(u) + log(1 + exp(-abs(u)));
  const Tensor alpha = (1 - kAlpha) - (1 - 2 * kAlpha) * targets;
  return sum(alpha * pow(sigmoid(u), 2) * surprise);
}

Tensor overlap_loss(const Tensor& distances, const Tensor& targets) {
  const Tensor shared = area(minimum(distances, targets));
  return log((area(distances) + area(targets) - shared) / shared);
}

Tensor detection_loss(const Tensor& output, const Targets& targets) {
  const std::int64_t classes = output.size(3) - 4;
  const Tensor logits = slice(output, 3, 0, classes);
  const Tensor distances = exp(slice(output, 3, classes, classes + 4));
  const Tensor overlaps = overlap_loss(distances, targets.distances) * targets.inside;
  const auto count = static_cast<double>(std::max<std::int64_t>(targets.count, 1));
  return (focal_loss(logits, targets.classes) + sum(overlaps)) / count;
}

}  // namespace attune::examples
