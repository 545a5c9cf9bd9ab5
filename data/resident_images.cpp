#include "attune/data/resident_images.h"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

using Steps = std::span<const std::shared_ptr<const Transform>>;

/// The first of the steps, which is taken away, if it is a T.
template <typename T>
const T* take_first(Steps& steps) {
  const T* found = steps.empty() ? nullptr : dynamic_cast<const T*>(steps.front().get());
  if (found != nullptr) steps = steps.subspan(1);
  return found;
}

kernels::ImageBatchSettings settings_of(const Compose& transform, const ImageSize& size) {
  kernels::ImageBatchSettings settings;
  Steps steps = transform.steps();
  bool fits = true;
  if (const auto* crop = take_first<RandomCrop>(steps)) {
    fits = crop->height() == size.height && crop->width() == size.width;
    settings.padding = crop->padding();
  }
  if (const auto* flip = take_first<HorizontalFlip>(steps)) {
    settings.flip_probability = flip->probability();
  }
  if (const auto* normalize = take_first<Normalize>(steps)) {
    const auto& [mean, deviation] = normalize->statistics();
    fits = fits && static_cast<std::int64_t>(mean.size()) == size.channels;
    const auto to_float = [](double value) { return static_cast<float>(value); };
    if (fits) {
      std::transform(mean.begin(), mean.end(), settings.mean, to_float);
      std::transform(deviation.begin(), deviation.end(), settings.deviation, to_float);
    }
  }
  if (!fits || !steps.empty()) {
    throw Error(format_text(
        "data loader: a resident data set of {} takes RandomCrop({}x{}), HorizontalFlip and "
        "Normalize in this order, or some of them, but its transform is:\n{}",
        to_string(size), size.height, size.width, transform.description()));
  }
  return settings;
}

}  // namespace

ResidentImages::ResidentImages(const Dataset& dataset, const Compose& transform, Device device) {
  const ImageSize size = dataset.image_size();
  if (size.height == 0 || size.channels > kernels::ImageBatchSettings::kMaxChannels) {
    throw Error(format_text(
        "data loader: images of a resident data set have one size and up to {} channels, not {}",
        kernels::ImageBatchSettings::kMaxChannels, to_string(size)));
  }
  settings_ = settings_of(transform, size);
  std::vector<std::uint8_t> pixels;
  pixels.reserve(static_cast<std::size_t>(dataset.size() * size.count()));
  std::vector<std::int64_t> labels;
  ByteImage image;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    dataset.load(i, image);
    pixels.insert(pixels.end(), image.pixels.begin(), image.pixels.end());
    labels.push_back(dataset.label(i));
  }
  pixels_ = Tensor::from(pixels, {dataset.size(), size.height, size.width, size.channels}, device);
  labels_ = Tensor::from(labels, {dataset.size()}, device);
}

Batch ResidentImages::make(const Tensor& order, std::int64_t first, std::int64_t count,
                           std::uint64_t seed, DType dtype) const {
  kernels::ImageBatchSettings settings = settings_;
  settings.seed = seed;
  const Device device = pixels_.device();
  Batch batch;
  batch.images =
      Tensor::empty({count, pixels_.size(1), pixels_.size(2), pixels_.size(3)}, dtype, device);
  batch.targets = Tensor::empty({count}, DType::int64, device);
  make_image_batch(batch.images, batch.targets, pixels_, labels_, order, first, settings);
  return batch;
}

}  // namespace attune
