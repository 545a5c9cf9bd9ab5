#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/random.h"
#include "attune/data/dataset.h"
#include "attune/data/image.h"

namespace attune {

/// Changes an image on its way from the data set to the network. Whatever is random is drawn from
/// the stream given, so that one image in one epoch is always changed the same way. Images begin as
/// [height, width, channels] from 0 to 1. Implementations are immutable: apply() runs in several
/// threads at once.
class Transform {
 public:
  virtual ~Transform() = default;
  virtual void apply(Image& image, RandomStream& random) const = 0;
  /// "RandomCrop(32x32, padding 4)".
  virtual std::string description() const = 0;
};

/// Transforms applied one after the other; with none, images stay as they are.
class Compose : public Transform {
 public:
  Compose() = default;
  template <typename... T>
  requires(sizeof...(T) > 0 &&
           (std::derived_from<T, Transform> && ...)) explicit Compose(const T&... transforms)
      : steps_{std::make_shared<T>(transforms)...} {}

  /// Adds one more at the end.
  Compose& then(std::shared_ptr<const Transform> transform);
  const std::vector<std::shared_ptr<const Transform>>& steps() const { return steps_; }
  void apply(Image& image, RandomStream& random) const override;
  /// The steps' descriptions, one a line.
  std::string description() const override;

 private:
  std::vector<std::shared_ptr<const Transform>> steps_;
};

/// Surrounds the image with `padding` rows and columns of zeros (black, before Normalize), then
/// cuts out height x width at a random place.
class RandomCrop : public Transform {
 public:
  RandomCrop(std::int64_t height, std::int64_t width, std::int64_t padding = 0);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  std::int64_t padding() const { return padding_; }

 private:
  std::int64_t height_;
  std::int64_t width_;
  std::int64_t padding_;
};

/// Cuts height x width out of the middle, half a pixel up and left of it if the sizes do not match
/// in parity.
class CenterCrop : public Transform {
 public:
  CenterCrop(std::int64_t height, std::int64_t width);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;

 private:
  std::int64_t height_;
  std::int64_t width_;
};

/// Mirrors left and right with the given probability.
class HorizontalFlip : public Transform {
 public:
  explicit HorizontalFlip(double probability = 0.5);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;
  double probability() const { return probability_; }

 private:
  double probability_;
};

/// Sets a square of `length` x `length` pixels to zero. Its centre is uniform over the image, so
/// it may reach over the edge (DeVries and Taylor, "Improved regularization of convolutional
/// neural networks with cutout", 2017). Belongs after Normalize, where zero is the mean.
class Cutout : public Transform {
 public:
  explicit Cutout(std::int64_t length);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;

 private:
  std::int64_t length_;
};

/// Scales to another size: bilinear between pixel centres, and for shrinking with a filter that
/// widens with the factor, so that every source pixel counts (the triangle filter that PIL calls
/// BILINEAR; torchvision's `antialias=True`).
class Resize : public Transform {
 public:
  Resize(std::int64_t height, std::int64_t width);
  /// Keeps the aspect ratio; the shorter side becomes `length`, the longer is rounded down. An
  /// image whose longer side would have more than 65536 pixels is refused.
  static Resize shorter_side(std::int64_t length);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;

 private:
  std::int64_t height_;
  std::int64_t width_;  // 0: height_ is the length of the shorter side
};

/// Mean and standard deviation of each channel, for pixels from 0 to 1.
struct ChannelStatistics {
  std::vector<double> mean;
  std::vector<double> deviation;
};

/// Of the training sets, over all pixels.
ChannelStatistics cifar10_statistics();
ChannelStatistics cifar100_statistics();
/// The values that published ImageNet models were trained with.
ChannelStatistics imagenet_statistics();
/// Of SyntheticShapes in its source domain.
ChannelStatistics synthetic_shapes_statistics();
/// Computes them for any data set, loading each image once. Throws Error if it has no images or
/// their channels differ.
ChannelStatistics channel_statistics(const Dataset& dataset);

/// (x - mean) / deviation, for each channel.
class Normalize : public Transform {
 public:
  explicit Normalize(ChannelStatistics statistics);
  void apply(Image& image, RandomStream& random) const override;
  std::string description() const override;
  const ChannelStatistics& statistics() const { return statistics_; }

 private:
  ChannelStatistics statistics_;
};

/// The usual pipelines for 32x32 images. Training: RandomCrop(32, 32, 4), HorizontalFlip, Normalize
/// (K. He et al., "Deep residual learning for image recognition", 2016, section 4.2). Testing:
/// Normalize.
Compose cifar_train(const ChannelStatistics& statistics = cifar10_statistics());
Compose cifar_test(const ChannelStatistics& statistics = cifar10_statistics());

}  // namespace attune
