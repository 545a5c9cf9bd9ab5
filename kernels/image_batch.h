#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

/// How images of bytes become a batch that a network takes.
struct ImageBatchSettings {
  static constexpr int kMaxChannels = 4;

  std::int64_t height = 0, width = 0, channels = 0;
  /// Rows and columns of zeros around an image, out of which one of its size is cut at random;
  /// negative: nothing is cut.
  std::int64_t padding = -1;
  /// With which it is mirrored, left and right; negative: nothing is mirrored, nor drawn.
  double flip_probability = -1;
  /// Image `index` draws from philox(seed, index, ...): first row, first column, whether mirrored.
  std::uint64_t seed = 0;
  float mean[kMaxChannels] = {};
  float deviation[kMaxChannels] = {1, 1, 1, 1};
};

/// For each i < count: y[i] = (x / 255 - mean) / deviation for each channel, where x is image
/// indices[i] of `images` [.., height, width, channels], cut and mirrored; targets[i] is its label.
/// The very images that RandomCrop, HorizontalFlip and Normalize (attune/data/transforms.h) make.
template <typename T>
void make_image_batch(Device device, T* y, std::int64_t* targets, const std::uint8_t* images,
                      const std::int64_t* labels, const std::int64_t* indices, std::int64_t count,
                      const ImageBatchSettings& settings);

}  // namespace attune::kernels
