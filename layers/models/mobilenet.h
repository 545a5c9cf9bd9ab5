#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/dropout.h"
#include "attune/layers/models/image_classifier.h"

// Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381.
// Tensors are named as in torchvision.

namespace attune {

/// The whole architecture. The defaults are MobileNetV2 of width 1.
struct MobileNetV2Options {
  /// A line of table 2.
  struct Stage {
    std::int64_t expansion;  ///< t: by how much a block widens its input
    std::int64_t channels;   ///< c: of its output
    std::int64_t blocks;     ///< n
    std::int64_t stride;     ///< s: of the first block; the others have 1
  };
  std::vector<Stage> stages{
      {.expansion = 1, .channels = 16, .blocks = 1, .stride = 1},
      {.expansion = 6, .channels = 24, .blocks = 2, .stride = 2},
      {.expansion = 6, .channels = 32, .blocks = 3, .stride = 2},
      {.expansion = 6, .channels = 64, .blocks = 4, .stride = 2},
      {.expansion = 6, .channels = 96, .blocks = 3, .stride = 1},
      {.expansion = 6, .channels = 160, .blocks = 3, .stride = 2},
      {.expansion = 6, .channels = 320, .blocks = 1, .stride = 1},
  };
  std::int64_t first_channels = 32;
  std::int64_t last_channels = 1280;
  /// Multiplies all channels, to the nearest multiple of 8 that is not below 90 %; the last ones
  /// only if it is above 1.
  double width = 1;
  double dropout = 0.2;  ///< before the classifier
  Stem stem = Stem::imagenet;
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
};

/// A 3x3 convolution, stages of inverted residual blocks, a 1x1 convolution, the mean, a linear
/// layer. With Stem::imagenet the output of the last stage has 1/32 of the rows and columns; with
/// Stem::cifar 1/8: the first two strides of 2 are 1.
///
/// Initial values are torchvision's: filters after He et al. (fan out), the linear layer normal
/// with deviation 0.01, biases 0.
class MobileNetV2 final : public ImageClassifier {
 public:
  explicit MobileNetV2(const MobileNetV2Options& options,
                       Generator& generator = default_generator());

  Tensor features(const Tensor& x) override;
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "MobileNetV2"; }

 private:
  std::shared_ptr<ConvBN> first_, last_;
  std::vector<std::shared_ptr<Module>> blocks_;
  std::shared_ptr<Dropout> dropout_;
};

std::shared_ptr<MobileNetV2> mobilenet_v2(const ModelVariant& variant = {},
                                          Generator& generator = default_generator());

}  // namespace attune
