#include "attune/data/transforms.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

void check_positive(const char* op, const char* argument, std::int64_t value) {
  if (value <= 0) throw Error(format_text("{}: {} {} is not positive", op, argument, value));
}

// Cuts `size` out of `image`, beginning at row `top`, column `left`; what lies outside is zero.
Image crop(const Image& image, const ImageSize& size, std::int64_t top, std::int64_t left) {
  Image result{size, std::vector<float>(static_cast<std::size_t>(size.count()), 0.0f)};
  const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, size.width);
  const std::int64_t end = std::clamp<std::int64_t>(image.size.width - left, begin, size.width);
  for (std::int64_t y = 0; y < size.height; ++y) {
    const std::int64_t row = top + y;
    if (row < 0 || row >= image.size.height || begin == end) continue;
    std::copy_n(image.at(row, left + begin), (end - begin) * size.channels, result.at(y, begin));
  }
  return result;
}

}  // namespace

// ---- Compose ----

Compose& Compose::then(std::shared_ptr<const Transform> transform) {
  if (!transform) throw Error("Compose: no transform given");
  steps_.push_back(std::move(transform));
  return *this;
}

void Compose::apply(Image& image, RandomStream& random) const {
  for (const auto& step : steps_) step->apply(image, random);
}

std::string Compose::description() const {
  std::string text;
  for (const auto& step : steps_) {
    if (!text.empty()) text += '\n';
    text += step->description();
  }
  return text;
}

// ---- RandomCrop ----

RandomCrop::RandomCrop(std::int64_t height, std::int64_t width, std::int64_t padding)
    : height_(height), width_(width), padding_(padding) {
  check_positive("RandomCrop", "height", height);
  check_positive("RandomCrop", "width", width);
  if (padding < 0) throw Error(format_text("RandomCrop: padding {} is negative", padding));
}

void RandomCrop::apply(Image& image, RandomStream& random) const {
  const std::int64_t spare_rows = image.size.height + 2 * padding_ - height_;
  const std::int64_t spare_columns = image.size.width + 2 * padding_ - width_;
  if (spare_rows < 0 || spare_columns < 0) {
    throw Error(format_text("{}: larger than the image {} with its padding", description(),
                            to_string(image.size)));
  }
  const std::int64_t top = random.below(spare_rows + 1) - padding_;
  const std::int64_t left = random.below(spare_columns + 1) - padding_;
  image = crop(image, {height_, width_, image.size.channels}, top, left);
}

std::string RandomCrop::description() const {
  return format_text("RandomCrop({}x{}, padding {})", height_, width_, padding_);
}

// ---- CenterCrop ----

CenterCrop::CenterCrop(std::int64_t height, std::int64_t width) : height_(height), width_(width) {
  check_positive("CenterCrop", "height", height);
  check_positive("CenterCrop", "width", width);
}

void CenterCrop::apply(Image& image, RandomStream&) const {
  if (image.size.height < height_ || image.size.width < width_) {
    throw Error(format_text("{}: larger than the image {}", description(), to_string(image.size)));
  }
  image = crop(image, {height_, width_, image.size.channels}, (image.size.height - height_) / 2,
               (image.size.width - width_) / 2);
}

std::string CenterCrop::description() const {
  return format_text("CenterCrop({}x{})", height_, width_);
}

// ---- HorizontalFlip ----

HorizontalFlip::HorizontalFlip(double probability) : probability_(probability) {
  if (!(probability >= 0 && probability <= 1)) {
    throw Error(format_text("HorizontalFlip: probability {} is not within 0 to 1", probability));
  }
}

void HorizontalFlip::apply(Image& image, RandomStream& random) const {
  if (!(random.uniform() < probability_)) return;
  const auto [height, width, channels] = image.size;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t left = 0, right = width - 1; left < right; ++left, --right) {
      std::swap_ranges(image.at(y, left), image.at(y, left) + channels, image.at(y, right));
    }
  }
}

std::string HorizontalFlip::description() const {
  return format_text("HorizontalFlip(probability {})", probability_);
}

// ---- Cutout ----

Cutout::Cutout(std::int64_t length) : length_(length) {
  check_positive("Cutout", "length", length);
}

void Cutout::apply(Image& image, RandomStream& random) const {
  const auto [height, width, channels] = image.size;
  const std::int64_t top = random.below(height) - length_ / 2;
  const std::int64_t left = random.below(width) - length_ / 2;
  const std::int64_t begin = std::max<std::int64_t>(left, 0);
  const std::int64_t end = std::min(left + length_, width);
  for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + length_, height); ++y) {
    std::fill_n(image.at(y, begin), (end - begin) * channels, 0.0f);
  }
}

std::string Cutout::description() const { return format_text("Cutout({}x{})", length_, length_); }

// ---- Normalize ----

Normalize::Normalize(ChannelStatistics statistics) : statistics_(std::move(statistics)) {
  if (statistics_.mean.empty() || statistics_.mean.size() != statistics_.deviation.size()) {
    throw Error(format_text("Normalize: {} means and {} deviations", statistics_.mean.size(),
                            statistics_.deviation.size()));
  }
  for (const double deviation : statistics_.deviation) {
    if (!(deviation > 0)) {
      throw Error(format_text("Normalize: deviation {} is not positive", deviation));
    }
  }
}

void Normalize::apply(Image& image, RandomStream&) const {
  const std::size_t channels = statistics_.mean.size();
  if (image.size.channels != static_cast<std::int64_t>(channels)) {
    throw Error(
        format_text("Normalize: an image of {} for {} channels", to_string(image.size), channels));
  }
  for (std::size_t c = 0; c < channels; ++c) {
    const auto mean = static_cast<float>(statistics_.mean[c]);
    const auto deviation = static_cast<float>(statistics_.deviation[c]);
    for (std::size_t i = c; i < image.pixels.size(); i += channels) {
      image.pixels[i] = (image.pixels[i] - mean) / deviation;
    }
  }
}

std::string Normalize::description() const {
  return format_text("Normalize(mean [{}], deviation [{}])", join_text(statistics_.mean, ", "),
                     join_text(statistics_.deviation, ", "));
}

// ---- The usual pipelines ----

Compose cifar_train(const ChannelStatistics& statistics) {
  return Compose(RandomCrop(32, 32, 4), HorizontalFlip(), Normalize(statistics));
}

Compose cifar_test(const ChannelStatistics& statistics) { return Compose(Normalize(statistics)); }

}  // namespace attune
