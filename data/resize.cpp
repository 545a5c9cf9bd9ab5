#include <algorithm>
#include <cmath>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/data/transforms.h"

namespace attune {
namespace {

// No image of this library is larger, and below it no product of two lengths overflows.
constexpr std::int64_t kLargestSide = std::int64_t{1} << 16;

void check_side(const char* argument, std::int64_t value) {
  if (value < 1 || value > kLargestSide) {
    throw Error(format_text("Resize: {} {} is not within 1 to {}", argument, value, kLargestSide));
  }
}

/// The source positions that one target position averages, and their weights, which sum to 1.
struct Taps {
  std::int64_t first = 0;
  std::vector<float> weights;
};

// Centres of pixels lie at half integers. Target centre t + 1/2 maps to (t + 1/2) * scale; the
// triangle around it reaches one source pixel far, or one target pixel where those are larger.
std::vector<Taps> triangle_taps(std::int64_t source, std::int64_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const double reach = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<std::size_t>(target));
  for (std::int64_t t = 0; t < target; ++t) {
    const double centre = (static_cast<double>(t) + 0.5) * scale;
    const auto first = static_cast<std::int64_t>(std::floor(centre - reach));
    const auto last = static_cast<std::int64_t>(std::ceil(centre + reach));
    std::vector<double> weights;
    std::int64_t begin = std::clamp<std::int64_t>(first, 0, source - 1);
    double sum = 0;
    for (std::int64_t s = begin; s <= std::min(last, source - 1); ++s) {
      const double distance = std::abs(static_cast<double>(s) + 0.5 - centre);
      weights.push_back(std::max(0.0, 1 - distance / reach));
      sum += weights.back();
    }
    Taps& tap = taps[static_cast<std::size_t>(t)];
    tap.first = begin;
    for (const double weight : weights) tap.weights.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

Image resize_rows(const Image& image, std::int64_t height) {
  const ImageSize size{height, image.size.width, image.size.channels};
  Image result{size, std::vector<float>(static_cast<std::size_t>(size.count()), 0.0f)};
  const std::vector<Taps> taps = triangle_taps(image.size.height, height);
  const std::int64_t row = size.width * size.channels;
  for (std::int64_t y = 0; y < height; ++y) {
    float* to = result.at(y, 0);
    const Taps& tap = taps[static_cast<std::size_t>(y)];
    for (std::size_t k = 0; k < tap.weights.size(); ++k) {
      const float* from = image.at(tap.first + static_cast<std::int64_t>(k), 0);
      for (std::int64_t i = 0; i < row; ++i) to[i] += tap.weights[k] * from[i];
    }
  }
  return result;
}

Image resize_columns(const Image& image, std::int64_t width) {
  const ImageSize size{image.size.height, width, image.size.channels};
  Image result{size, std::vector<float>(static_cast<std::size_t>(size.count()), 0.0f)};
  const std::vector<Taps> taps = triangle_taps(image.size.width, width);
  for (std::int64_t y = 0; y < size.height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      float* to = result.at(y, x);
      const Taps& tap = taps[static_cast<std::size_t>(x)];
      const float* from = image.at(y, tap.first);
      for (const float weight : tap.weights) {
        for (std::int64_t c = 0; c < size.channels; ++c) to[c] += weight * *from++;
      }
    }
  }
  return result;
}

}  // namespace

Resize::Resize(std::int64_t height, std::int64_t width) : height_(height), width_(width) {
  check_side("height", height);
  check_side("width", width);
}

Resize Resize::shorter_side(std::int64_t length) {
  Resize resize(length, length);
  resize.width_ = 0;
  return resize;
}

void Resize::apply(Image& image, RandomStream&) const {
  std::int64_t height = height_;
  std::int64_t width = width_;
  if (width_ == 0) {
    const std::int64_t shorter = std::min(image.size.height, image.size.width);
    height = image.size.height * height_ / shorter;
    width = image.size.width * height_ / shorter;
    if (std::max(height, width) > kLargestSide) {  // of a tiny file it would make gigabytes
      throw Error(
          format_text("Resize: an image of {} would become {}x{}, but no side may be longer "
                      "than {}",
                      to_string(image.size), height, width, kLargestSide));
    }
  }
  // The direction that shrinks the image more goes first: less is left for the other one.
  if (height * image.size.width < width * image.size.height) {
    image = resize_columns(resize_rows(image, height), width);
  } else {
    image = resize_rows(resize_columns(image, width), height);
  }
}

std::string Resize::description() const {
  return width_ == 0 ? format_text("Resize(shorter side {})", height_)
                     : format_text("Resize({}x{})", height_, width_);
}

}  // namespace attune
