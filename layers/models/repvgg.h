#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/models/image_classifier.h"
#include "attune/layers/sequential.h"

// Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", arXiv 2101.03697. Tensors are named
// as in the authors' release.

namespace attune {

/// Three branches, and what deploy() makes of them: x [N, H, W, in] -> [N, H / stride, W / stride,
/// out].
///
///     z = relu(BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x))
///
/// the last only if in = out and stride = 1.
///
/// A sum of convolutions is a convolution. A 1x1 filter is a 3x3 filter with zeros around it, the
/// identity a 1x1 filter with the unit matrix in it, and each normalisation folds into its filter
/// as ConvBN's does; so in Deploy one convolution is left (section 3.3),
///
///     z = relu(conv3x3(x, w') + b')        w' = w3' + around(w1' + wi')    b' = b3' + b1' + bi'
///
/// with w' and b' as its parameters, rbr_reparam.weight and rbr_reparam.bias. undeploy() restores
/// the branches with the function that the convolution has then: by how much w' and b' have changed
/// goes to the 3x3 branch. The other two are kept as buffers until then, and of the 3x3 branch what
/// ConvBN keeps.
///
/// Tune keeps x and the output alone, as Deploy does: all branches read the same x.
class RepVggBlock final : public Module {
 public:
  struct Options {
    std::int64_t in_channels = 0;
    std::int64_t out_channels = 0;
    std::int64_t stride = 1;
  };

  explicit RepVggBlock(const Options& options, Generator& generator = default_generator());

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "RepVggBlock"; }

 private:
  void on_deploy() override;
  void on_undeploy() override;
  void register_branches();
  /// What the 1x1 branch and the identity, folded, add to the 3x3 filter and its bias.
  FoldedConv other_branches() const;

  std::shared_ptr<BatchNorm2d> identity_;  // null where there is none
  std::shared_ptr<ConvBN> dense_;          // in Deploy: the one convolution
  std::shared_ptr<ConvBN> one_;
};

/// The whole architecture. The defaults are RepVGG-A0 (table 2).
struct RepVggOptions {
  std::vector<std::int64_t> depths{2, 4, 14, 1};  ///< blocks in each stage; the first has stride 2
  std::vector<std::int64_t> channels{48, 96, 192, 1280};  ///< of each stage
  Stem stem = Stem::imagenet;
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
};

/// A block of stride 2 and at most 64 channels, the stages, the mean, a linear layer. With
/// Stem::imagenet the last stage has 1/32 of the rows and columns, and with Stem::cifar 1/8: the
/// first two strides are 1.
///
/// Initial values are PyTorch's defaults (layers/init.h).
class RepVgg final : public ImageClassifier {
 public:
  explicit RepVgg(const RepVggOptions& options, Generator& generator = default_generator());

  Tensor features(const Tensor& x) override;
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "RepVgg"; }

 private:
  std::shared_ptr<RepVggBlock> stem_;
  std::vector<std::shared_ptr<Sequential>> stages_;
};

std::shared_ptr<RepVgg> repvgg_a0(const ModelVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<RepVgg> repvgg_a1(const ModelVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<RepVgg> repvgg_a2(const ModelVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<RepVgg> repvgg_b0(const ModelVariant& variant = {},
                                  Generator& generator = default_generator());
std::shared_ptr<RepVgg> repvgg_b1(const ModelVariant& variant = {},
                                  Generator& generator = default_generator());

}  // namespace attune
