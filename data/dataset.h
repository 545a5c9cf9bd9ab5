#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/data/image.h"

namespace attune {

enum class Split { train, test };

/// "train", "test".
const char* to_string(Split split);

/// An image and its class.
struct Sample {
  ByteImage image;
  std::int64_t label = 0;
};

/// A numbered collection of labelled images. All functions are const and safe to call from several
/// threads at once; an index out of range throws Error.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual std::int64_t size() const = 0;
  /// Names of the classes; a label is a position in this list.
  virtual const std::vector<std::string>& classes() const = 0;
  /// The size all images share; height and width are 0 where they differ from image to image.
  virtual ImageSize image_size() const = 0;
  /// Which image this is, for messages: "CIFAR-10 train image 17", or the path of a file.
  virtual std::string sample_name(std::int64_t index) const = 0;
  /// The class of image `index`, without loading it.
  virtual std::int64_t label(std::int64_t index) const = 0;
  /// Overwrites `image`, whose memory is used again. Errors name the file.
  virtual void load(std::int64_t index, ByteImage& image) const = 0;

  /// Image and label at once.
  Sample get(std::int64_t index) const;

 protected:
  /// Throws Error unless 0 <= index < size().
  void check_index(std::int64_t index) const;
};

/// Images of one size, held in memory.
class InMemoryDataset : public Dataset {
 public:
  /// `pixels` is [labels.size(), height, width, channels]. Throws Error, beginning with `name`, if
  /// the sizes disagree or a label names no class.
  InMemoryDataset(std::string name, std::vector<std::string> classes, const ImageSize& image_size,
                  std::vector<std::uint8_t> pixels, std::vector<std::int64_t> labels);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageSize image_size() const override { return image_size_; }
  std::string sample_name(std::int64_t index) const override;
  std::int64_t label(std::int64_t index) const override;
  void load(std::int64_t index, ByteImage& image) const override;

 private:
  std::string name_;
  std::vector<std::string> classes_;
  ImageSize image_size_;
  std::vector<std::uint8_t> pixels_;
  std::vector<std::int64_t> labels_;
};

/// A part of another data set, in a given order. Classes and labels stay the same, even if the part
/// has no image of some class.
class Subset : public Dataset {
 public:
  /// Image i of the subset is image indices[i] of `dataset`.
  Subset(std::shared_ptr<const Dataset> dataset, std::vector<std::int64_t> indices);

  /// The first `count` images of each class (all, where there are fewer), in the original order.
  static std::shared_ptr<Subset> first_per_class(std::shared_ptr<const Dataset> dataset,
                                                 std::int64_t count);
  /// Shuffles the images by `seed` and takes those from `begin` to `end`, given as fractions of the
  /// whole: with one seed, (0, 0.9) and (0.9, 1) split a data set into two disjoint parts.
  static std::shared_ptr<Subset> fraction(std::shared_ptr<const Dataset> dataset, double begin,
                                          double end, std::uint64_t seed);

  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  const std::vector<std::string>& classes() const override { return dataset_->classes(); }
  ImageSize image_size() const override { return dataset_->image_size(); }
  std::string sample_name(std::int64_t index) const override;
  std::int64_t label(std::int64_t index) const override;
  void load(std::int64_t index, ByteImage& image) const override;

  /// Where image `index` is found in the whole data set.
  std::int64_t original_index(std::int64_t index) const;

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::int64_t> indices_;
};

}  // namespace attune
