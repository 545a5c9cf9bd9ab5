#pragma once

#include <cstdint>
#include <vector>

namespace attune::examples {

/// A rectangle in pixels: x to the right, y downwards from the image's upper left corner.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;

  double area() const { return (right - left) * (bottom - top); }
};

/// What is in an image, and where.
struct Object {
  Box box;
  std::int64_t label = 0;
};

/// What a detector says is there. The score, from 0 to 1, orders what it says.
struct Detection {
  Box box;
  std::int64_t label = 0;
  double score = 0;
};

/// Of each image of a set.
using Truth = std::vector<std::vector<Object>>;
using Detections = std::vector<std::vector<Detection>>;

/// Area of the intersection over that of the union: 0 for boxes that do not meet, 1 for equal ones.
double overlap(const Box& a, const Box& b);

/// Greedy non-maximum suppression, of one image: from the highest score on, a detection drops those
/// of its class that overlap it by more than `most`. What is left comes in that order.
std::vector<Detection> suppress_repeated(std::vector<Detection> detections, double most);

/// Average precision of one class, from 0 to 1. Detections are taken from the highest score on. One
/// is right if the object of its class that it overlaps most, by `least` or more, has not been
/// found by an earlier one. Precision, the share of right ones so far, is integrated over recall,
/// the share of the objects found so far; the precision at a recall is the largest there is at that
/// recall or above. (Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 88,
/// 2010, section 4.2; with the area under the whole curve, as the challenge did from 2010 on,
/// instead of the mean at eleven points.) NaN if there is no object of this class.
double average_precision(const Detections& found, const Truth& truth, std::int64_t label,
                         double least = 0.5);

/// The mean over those of the classes 0, ..., classes - 1 that occur: mAP@0.5. NaN if none does.
double mean_average_precision(const Detections& found, const Truth& truth, std::int64_t classes,
                              double least = 0.5);

}  // namespace attune::examples
