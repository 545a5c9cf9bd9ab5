#pragma once

#include <attune/core/random.h>
#include <attune/layers/conv2d.h>
#include <attune/layers/conv_bn.h>
#include <attune/layers/models/image_classifier.h>
#include <attune/layers/module.h>

#include <cstdint>
#include <memory>

#include "paper/detection/boxes.h"

namespace attune::examples {

/// A detector of one stage, without anchors, after FCOS (Tian et al., arXiv 1904.01355): every
/// location of one feature map says what object it lies in, if any, and how far away that object's
/// edges are.
///
/// The feature map is the last one of a network that was trained to classify; two blocks of
/// convolution and batch normalisation follow, the first with stride 2, and a convolution that
/// speaks. The statistics of the new blocks are 0 and 1: only Mode::train would change them.
class Detector final : public Module {
 public:
  /// In Mode::eval. The backbone's own head stays what it is, and is not used.
  Detector(std::shared_ptr<ImageClassifier> backbone, std::int64_t classes,
           Generator& generator = default_generator());

  /// Images [N, H, W, 3] -> [N, P, Q, classes + 4]: for each location the classes' logits, then the
  /// logarithms of the distances to the left, top, right and bottom edge. Distances are in strides
  /// of H / P pixels, and location (p, q) is at x = q + 1/2, y = p + 1/2.
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Detector"; }

 private:
  std::shared_ptr<ImageClassifier> backbone_;
  std::shared_ptr<ConvBN> first_, second_;
  std::shared_ptr<Conv2d> predict_;
};

/// What counts as a detection.
struct DetectOptions {
  double least_score = 0.05;
  double most_overlap = 0.5;  ///< of two detections of one class
};

/// Reads what a detector has said of images of `side` x `side` pixels: boxes, cut off at the
/// images' edges, from the highest score on, without those that repeat a better one.
Detections decode(const Tensor& output, std::int64_t side, const DetectOptions& options = {});

}  // namespace attune::examples
