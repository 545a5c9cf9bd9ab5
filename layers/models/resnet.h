#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/models/image_classifier.h"
#include "attune/layers/module.h"
#include "attune/layers/sequential.h"

// Residual networks: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385;
// ResNeXt, whose 3x3 convolutions have groups: Xie et al., "Aggregated Residual Transformations for
// Deep Neural Networks", arXiv 1611.05431; wide ones: Zagoruyko and Komodakis, arXiv 1605.07146.
// Tensors are named as in torchvision, whose weight files fit once filters are permuted to KRSC.

namespace attune {

enum class ResNetBlock : std::uint8_t {
  basic,       ///< 3x3, 3x3 (figure 5, left)
  bottleneck,  ///< 1x1, 3x3, 1x1 with four times the channels (right); the stride is the 3x3's
};

/// cifar: 3x3 convolution, stride 1 (section 4.2); imagenet: 7x7 convolution, stride 2, then 3x3
/// max pooling, stride 2 (table 1).
using ResNetStem = Stem;

/// How the shortcut of a block changes the number of channels (section 3.3).
enum class ResNetShortcut : std::uint8_t {
  pad,         ///< option A: subsample, then zeros for the new channels; has no parameters
  projection,  ///< option B: 1x1 convolution and batch normalisation
};

/// The whole architecture. The defaults are ResNet-18.
struct ResNetOptions {
  ResNetBlock block = ResNetBlock::basic;
  std::vector<std::int64_t> depths{2, 2, 2, 2};  ///< blocks in each stage
  std::int64_t width = 64;  ///< channels of the first stage's 3x3 convolutions; doubles by stage
  /// Of a bottleneck's 3x3 convolution, if the stage's width is 64: `groups` of `group_width`
  /// channels. Both grow with the width. 1 x 64 is ResNet, 32 x 4 the ResNeXt of the paper.
  std::int64_t groups = 1;
  std::int64_t group_width = 64;
  ResNetStem stem = ResNetStem::imagenet;
  ResNetShortcut shortcut = ResNetShortcut::projection;
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
  /// The last gamma of each block begins at 0, so that blocks begin as the identity (Goyal et al.,
  /// arXiv 1706.02677, section 5.1).
  bool zero_init_last_gamma = false;
};

/// Filters begin with He et al.'s normal distribution (fan out), as in torchvision. Each
/// convolution with its normalisation and ReLU is one operation, and so is the last one of a block
/// with the addition and the ReLU that follow.
class ResNet final : public ImageClassifier {
 public:
  explicit ResNet(const ResNetOptions& options, Generator& generator = default_generator());

  Tensor features(const Tensor& x) override;
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ResNet"; }

  /// As it was built; a new head may have other classes.
  const ResNetOptions& options() const { return options_; }

 private:
  ResNetOptions options_;
  std::shared_ptr<ConvBN> conv1_;
  std::vector<std::shared_ptr<Sequential>> stages_;
};

/// What a named network leaves open.
struct ResNetVariant {
  std::int64_t classes = 0;             ///< 0: 10 with the CIFAR stem, 1000 with the ImageNet stem
  std::optional<ResNetStem> stem = {};  ///< none: the paper's
  ResNetShortcut shortcut = ResNetShortcut::projection;
  std::int64_t in_channels = 3;
  bool zero_init_last_gamma = false;
};

/// "resnet20", ... as below. Throws Error, listing the names, for any other.
std::shared_ptr<ResNet> make_resnet(const std::string& name, const ResNetVariant& variant = {},
                                    Generator& generator = default_generator());
/// The same architecture as options, to be changed further.
ResNetOptions resnet_options(const std::string& name, const ResNetVariant& variant = {});
/// The names, in order of depth: a CIFAR network of 6 n + 2 layers (section 4.2) has n blocks of
/// 16, 32 and 64 channels; the others are those of table 1, and torchvision's ResNeXt and wide
/// ones.
const std::vector<std::string>& resnet_names();

std::shared_ptr<ResNet> resnet20(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet32(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet44(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet56(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet110(const ResNetVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet18(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet34(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet50(const ResNetVariant& variant = {},
                                 Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet101(const ResNetVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<ResNet> resnet152(const ResNetVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<ResNet> resnext50_32x4d(const ResNetVariant& variant = {},
                                        Generator& generator = default_generator());
std::shared_ptr<ResNet> resnext101_32x8d(const ResNetVariant& variant = {},
                                         Generator& generator = default_generator());
std::shared_ptr<ResNet> wide_resnet50_2(const ResNetVariant& variant = {},
                                        Generator& generator = default_generator());

}  // namespace attune
