#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/dropout.h"
#include "attune/layers/models/image_classifier.h"

// Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
// arXiv 1409.1556, with the batch normalisation that came later. Tensors are named as in
// torchvision.

namespace attune {

/// The whole architecture. The defaults are VGG-11 with batch normalisation.
struct VggOptions {
  /// Channels of the 3x3 convolutions, stage by stage (table 1). 2x2 max pooling ends a stage.
  std::vector<std::vector<std::int64_t>> stages{{64}, {128}, {256, 256}, {512, 512}, {512, 512}};
  std::int64_t grid = 7;  ///< the classifier reads grid x grid means of the last stage's output
  std::int64_t hidden = 4096;  ///< features of the classifier's two hidden layers
  double dropout = 0.5;        ///< behind each of them
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
};

/// Convolutions of 3x3 pixels with bias, batch normalisation and ReLU in stages, then three linear
/// layers. The last stage's output must divide into the grid: with five stages, height and width of
/// the images are multiples of 32 grid (224, and 32 for the CIFAR variant).
///
/// Initial values are torchvision's: filters after He et al. (fan out), linear layers normal with
/// deviation 0.01, biases 0.
class Vgg final : public ImageClassifier {
 public:
  explicit Vgg(const VggOptions& options, Generator& generator = default_generator());

  Tensor features(const Tensor& x) override;
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Vgg"; }

 private:
  VggOptions options_;
  std::vector<std::vector<std::shared_ptr<ConvBN>>> stages_;
  std::shared_ptr<Linear> fc1_, fc2_;
  std::shared_ptr<Dropout> dropout1_, dropout2_;
};

/// Networks of 11, 13, 16 and 19 layers with parameters. With Stem::cifar the grid is one pixel and
/// the hidden layers have 512 features.
std::shared_ptr<Vgg> vgg11_bn(const ModelVariant& variant = {},
                              Generator& generator = default_generator());
std::shared_ptr<Vgg> vgg13_bn(const ModelVariant& variant = {},
                              Generator& generator = default_generator());
std::shared_ptr<Vgg> vgg16_bn(const ModelVariant& variant = {},
                              Generator& generator = default_generator());
std::shared_ptr<Vgg> vgg19_bn(const ModelVariant& variant = {},
                              Generator& generator = default_generator());

}  // namespace attune
