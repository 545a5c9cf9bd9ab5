#include "paper/detection/boxes.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace attune::examples {
namespace {

/// A detection of the class in question, and in which image it is.
struct Candidate {
  std::size_t image;
  const Detection* detection;
};

std::vector<Candidate> by_score(const Detections& found, std::int64_t label) {
  std::vector<Candidate> candidates;
  for (std::size_t image = 0; image < found.size(); ++image) {
    for (const Detection& detection : found[image]) {
      if (detection.label == label) candidates.push_back({image, &detection});
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.detection->score > b.detection->score;
                   });
  return candidates;
}

/// The object of its class that a detection overlaps most, by `least` or more; the number of
/// objects if there is none.
std::size_t best_match(const Detection& detection, const std::vector<Object>& objects,
                       double least) {
  std::size_t best = objects.size();
  double most = 0;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const double shared = overlap(detection.box, objects[i].box);
    if (objects[i].label != detection.label || shared < least || shared <= most) continue;
    most = shared;
    best = i;
  }
  return best;
}

}  // namespace

double overlap(const Box& a, const Box& b) {
  const Box shared{std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
                   std::min(a.bottom, b.bottom)};
  if (shared.right <= shared.left || shared.bottom <= shared.top) return 0;
  return shared.area() / (a.area() + b.area() - shared.area());
}

std::vector<Detection> suppress_repeated(std::vector<Detection> detections, double most) {
  std::stable_sort(detections.begin(), detections.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  std::vector<Detection> kept;
  for (const Detection& detection : detections) {
    const bool repeated = std::any_of(kept.begin(), kept.end(), [&](const Detection& better) {
      return better.label == detection.label && overlap(better.box, detection.box) > most;
    });
    if (!repeated) kept.push_back(detection);
  }
  return kept;
}

double average_precision(const Detections& found, const Truth& truth, std::int64_t label,
                         double least) {
  double objects = 0;
  std::vector<std::vector<bool>> taken;
  for (const std::vector<Object>& image : truth) {
    taken.emplace_back(image.size(), false);
    for (const Object& object : image) objects += object.label == label ? 1 : 0;
  }
  if (objects == 0) return std::numeric_limits<double>::quiet_NaN();

  std::vector<double> precision, recall;
  double right = 0;
  for (const auto& [image, detection] : by_score(found, label)) {
    const std::size_t match = best_match(*detection, truth.at(image), least);
    if (match < truth[image].size() && !taken[image][match]) {
      taken[image][match] = true;
      ++right;
    }
    recall.push_back(right / objects);
    precision.push_back(right / static_cast<double>(precision.size() + 1));
  }
  double area = 0, highest = 0;
  for (std::size_t i = precision.size(); i-- > 0;) {
    highest = std::max(highest, precision[i]);
    area += highest * (recall[i] - (i > 0 ? recall[i - 1] : 0));
  }
  return area;
}

double mean_average_precision(const Detections& found, const Truth& truth, std::int64_t classes,
                              double least) {
  double sum = 0, count = 0;
  for (std::int64_t label = 0; label < classes; ++label) {
    const double value = average_precision(found, truth, label, least);
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
  }
  return sum / count;  // 0 / 0 is NaN
}

}  // namespace attune::examples
