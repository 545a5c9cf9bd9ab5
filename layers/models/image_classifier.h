#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "attune/core/random.h"
#include "attune/layers/linear.h"
#include "attune/layers/module.h"

namespace attune {

/// How a network of convolutions begins, which decides for what images it is.
enum class Stem : std::uint8_t {
  cifar,     ///< gently: images of about 32x32 pixels
  imagenet,  ///< with a quarter of the rows and columns: images of about 224x224 pixels
};

/// What a network that is known by its name leaves open.
struct ModelVariant {
  std::int64_t classes = 0;       ///< 0: usual_classes()
  std::optional<Stem> stem = {};  ///< none: the one of the network's authors
  std::int64_t in_channels = 3;
};

/// Of the data set after which the stem is named.
constexpr std::int64_t usual_classes(Stem stem) { return stem == Stem::cifar ? 10 : 1000; }

/// A network that tells what is in an image: x [N, H, W, channels] -> logits [N, classes]. Its last
/// layer is linear.
class ImageClassifier : public Module {
 public:
  /// The last feature map, on which the answer is based: x [N, H, W, channels] -> [N, P, Q, C].
  /// What networks for other tasks begin with.
  virtual Tensor features(const Tensor& x) = 0;
  Linear& head() const { return *head_; }
  std::int64_t classes() const { return head_->options().out_features; }
  /// For another task: replaces the classifier by a new one, of the same dtype, on the same device,
  /// that is trained even if all else is frozen. The parameters it had are retired.
  void replace_head(std::int64_t classes, Generator& generator = default_generator());

 protected:
  /// Makes the last layer. A derived class calls this at the place that `name` has among the
  /// others.
  void register_head(const std::string& name, std::int64_t features, std::int64_t classes,
                     Generator& generator);

 private:
  std::string head_name_;
  std::shared_ptr<Linear> head_;
};

}  // namespace attune
