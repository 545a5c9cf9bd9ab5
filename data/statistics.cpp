#include <algorithm>
#include <array>
#include <cmath>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/data/transforms.h"

namespace attune {

ChannelStatistics cifar10_statistics() {
  return {{0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}};
}

ChannelStatistics cifar100_statistics() {
  return {{0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}};
}

ChannelStatistics imagenet_statistics() { return {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}}; }

ChannelStatistics synthetic_shapes_statistics() {
  return {{0.314, 0.321, 0.309}, {0.163, 0.171, 0.159}};
}

ChannelStatistics channel_statistics(const Dataset& dataset) {
  if (dataset.size() == 0) throw Error("channel_statistics: the data set has no images");
  const std::int64_t channels = dataset.image_size().channels;
  // How often each value from 0 to 255 occurs: exact, whatever the number of pixels.
  std::vector<std::array<std::int64_t, 256>> histograms(static_cast<std::size_t>(channels));
  std::int64_t pixels = 0;
  ByteImage image;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    dataset.load(i, image);
    if (image.size.channels != channels) {
      throw Error(format_text("channel_statistics: {} is {}, expected {} channels",
                              dataset.sample_name(i), to_string(image.size), channels));
    }
    const std::int64_t count = image.size.height * image.size.width;
    for (std::int64_t p = 0; p < count; ++p) {
      const std::uint8_t* values = image.pixels.data() + p * channels;
      for (std::size_t c = 0; c < histograms.size(); ++c) ++histograms[c][values[c]];
    }
    pixels += count;
  }

  ChannelStatistics statistics;
  for (const auto& histogram : histograms) {
    double sum = 0;
    double sum_of_squares = 0;
    for (std::size_t value = 0; value < histogram.size(); ++value) {
      const double x = static_cast<double>(value) / 255;
      const auto weight = static_cast<double>(histogram[value]);
      sum += weight * x;
      sum_of_squares += weight * x * x;
    }
    const double mean = sum / static_cast<double>(pixels);
    const double variance = sum_of_squares / static_cast<double>(pixels) - mean * mean;
    statistics.mean.push_back(mean);
    statistics.deviation.push_back(std::sqrt(std::max(0.0, variance)));
  }
  return statistics;
}

}  // namespace attune
