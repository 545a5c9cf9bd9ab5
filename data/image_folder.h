#pragma once

#include <filesystem>

#include "attune/data/dataset.h"

namespace attune {

/// A directory with one folder of images per class:
///
///     flowers/train/daisy/100080576.jpg
///     flowers/train/tulip/7166567320.png
///
/// Classes are the folders in alphabetical order; images are sorted by path and may differ in size.
/// Files named *.png, .jpg, .jpeg, .bmp, .gif, .ppm and .pgm count, in folders of any depth;
/// others, and those whose name begins with a dot, are passed over. An image is decoded when it is
/// loaded (the data loader does so in its worker threads), so an unreadable one is found only then.
class ImageFolder : public Dataset {
 public:
  /// Throws Error if `directory` does not exist, has no folders, or one of them has no image.
  /// `expected_classes`, if not empty, must be the classes found: give it the training set's when
  /// opening the test set, so that labels mean the same in both.
  explicit ImageFolder(const std::filesystem::path& directory,
                       const std::vector<std::string>& expected_classes = {},
                       const ImageFileLimits& limits = {});

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageSize image_size() const override { return {0, 0, 3}; }
  /// The path of the file.
  std::string sample_name(std::int64_t index) const override;
  std::int64_t label(std::int64_t index) const override;
  void load(std::int64_t index, ByteImage& image) const override;

 private:
  struct File {
    std::string path;
    std::int64_t label;
  };

  void scan(const std::filesystem::path& directory,
            const std::vector<std::string>& expected_classes);
  const File& file(std::int64_t index) const;

  ImageFileLimits limits_;
  std::vector<std::string> classes_;
  std::vector<File> files_;
};

}  // namespace attune
