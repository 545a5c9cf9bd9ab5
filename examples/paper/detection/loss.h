#pragma once

#include <attune/core/tensor.h>

#include <cstdint>

#include "paper/detection/boxes.h"

namespace attune::examples {

/// What every location of a detector's output is to say (Detector::forward() has the layout).
struct Targets {
  Tensor classes;    ///< [N, P, Q, classes]: 1 for the class of its object, otherwise 0
  Tensor distances;  ///< [N, P, Q, 4]: to its object's edges, in strides; 1 where there is none
  Tensor inside;     ///< [N, P, Q, 1]: 1 where there is an object, 0 where there is none
  std::int64_t count = 0;  ///< of the locations with an object
};

/// A location belongs to an object if it lies in its box and no further than 1.5 strides, in either
/// direction, from its middle; to the smallest one of several. `output` is the shape [N, P, Q,
/// classes + 4] of what a detector says of N images of `side` x `side` pixels. (FCOS, arXiv
/// 1904.01355v5, with the sampling at the middle that its authors added later: every object has
/// about nine locations, near enough to see all of it.)
Targets assign(const Truth& objects, const Shape& output, std::int64_t side,
               DType dtype = DType::float32);

/// Focal loss (Lin et al., arXiv 1708.02002, equation 5, with alpha = 1/4 and gamma = 2), the sum
/// over all elements: -alpha_t (1 - p_t)^2 log p_t, where p_t is the probability that
/// sigmoid(logit) gives to the answer in `targets`, 1 or 0, and alpha_t is alpha where that is 1,
/// else 1 - alpha.
Tensor focal_loss(const Tensor& logits, const Tensor& targets);

/// -log of the overlap (intersection over union) of two boxes around the same location, each given
/// by its distances [..., 4] to the left, top, right and bottom edge, all positive: [..., 1] (Yu et
/// al., "UnitBox", arXiv 1608.01471). Such boxes always overlap, so the generalised overlap (GIoU),
/// which has a gradient for boxes that do not, is not needed.
Tensor overlap_loss(const Tensor& distances, const Tensor& targets);

/// The sum of both, overlap where there is an object, divided by the number of locations with one.
Tensor detection_loss(const Tensor& output, const Targets& targets);

}  // namespace attune::examples
