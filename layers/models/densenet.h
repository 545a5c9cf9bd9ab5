#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/models/image_classifier.h"

// Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993, with bottlenecks and
// compression (DenseNet-BC). Tensors are named as in torchvision.

namespace attune {

/// The whole architecture. The defaults are DenseNet-121.
struct DenseNetOptions {
  std::vector<std::int64_t> depths{6, 12, 24, 16};  ///< layers in each dense block (table 1)
  std::int64_t growth = 32;                         ///< k: channels that a layer adds
  std::int64_t bottleneck = 4;       ///< a layer's 1x1 convolution has bottleneck k channels
  std::int64_t first_channels = 64;  ///< of the stem
  double dropout = 0;                ///< of what a layer adds
  /// imagenet: 7x7 convolution of stride 2, normalisation, ReLU, 3x3 max pooling of stride 2;
  /// cifar: 3x3 convolution alone (section 3, "Implementation Details").
  Stem stem = Stem::imagenet;
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
};

/// The stem, then dense blocks, in which each layer reads the channels of all before it; between
/// them transitions, which halve channels, rows and columns; at last a normalisation, ReLU, the
/// mean, a linear layer.
///
/// Normalisations come *before* the convolution here. One that normalises joined channels (norm1,
/// transition*.norm, norm5) has no convolution to be folded into: it is a BatchNorm2d, and keeps
/// its input in every mode. Within a layer, though, conv1 stands directly before norm2: that pair
/// is a ConvBN, and so is the stem's.
///
/// Initial values are torchvision's: filters after He et al. (fan in), the head's bias 0.
class DenseNet final : public ImageClassifier {
 public:
  explicit DenseNet(const DenseNetOptions& options, Generator& generator = default_generator());

  Tensor features(const Tensor& x) override;
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "DenseNet"; }

 private:
  std::shared_ptr<ConvBN> imagenet_stem_;  // one of these two
  std::shared_ptr<Conv2d> cifar_stem_;
  std::vector<std::shared_ptr<Module>> blocks_;  // and transitions
  std::shared_ptr<BatchNorm2d> norm_;
};

std::shared_ptr<DenseNet> densenet121(const ModelVariant& variant = {},
                                      Generator& generator = default_generator());
std::shared_ptr<DenseNet> densenet169(const ModelVariant& variant = {},
                                      Generator& generator = default_generator());
std::shared_ptr<DenseNet> densenet201(const ModelVariant& variant = {},
                                      Generator& generator = default_generator());
/// For CIFAR: DenseNet-BC with L = 100 layers, k = 12 (table 2). Its own stem is Stem::cifar.
std::shared_ptr<DenseNet> densenet_bc100(const ModelVariant& variant = {},
                                         Generator& generator = default_generator());

}  // namespace attune
