#include "support/normalization.h"

#include <attune/core/error.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

namespace attune::examples {
namespace {

constexpr std::size_t kChannels = 3;

/// "0.5" or "0.4,0.5,0.6"; nothing if it is neither.
std::vector<double> parse_channels(std::string_view text) {
  std::vector<double> values;
  while (true) {
    const std::string_view number = text.substr(0, text.find(','));
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(value)) {
      return {};
    }
    values.push_back(value);
    if (number.size() == text.size()) break;
    text.remove_prefix(number.size() + 1);
  }
  if (values.size() == 1) values.resize(kChannels, values[0]);
  return values;
}

}  // namespace

ChannelStatistics parse_statistics(const std::string& text) {
  if (text == "cifar") return cifar10_statistics();
  if (text == "imagenet") return imagenet_statistics();
  const std::size_t colon = text.find(':');
  if (colon != std::string::npos) {
    ChannelStatistics statistics{.mean = parse_channels(text.substr(0, colon)),
                                 .deviation = parse_channels(text.substr(colon + 1))};
    const auto& deviation = statistics.deviation;
    if (statistics.mean.size() == kChannels && deviation.size() == kChannels &&
        *std::min_element(deviation.begin(), deviation.end()) > 0) {
      return statistics;
    }
  }
  throw Error(fmt::format(
      "{} is neither cifar, nor imagenet, nor MEAN:STD with one number or three each, STD > 0",
      text));
}

std::string to_string(const ChannelStatistics& statistics) {
  return fmt::format("{}:{}", fmt::join(statistics.mean, ","),
                     fmt::join(statistics.deviation, ","));
}

// A network with the ImageNet stem halves its input five times; one with the CIFAR stem, twice.
std::int64_t image_side(Stem stem) { return stem == Stem::imagenet ? 224 : 32; }

Resize picture_resize(std::int64_t side) { return Resize::shorter_side(side * 8 / 7); }

Compose picture_transform(std::int64_t side, const ChannelStatistics& statistics) {
  return Compose(picture_resize(side), CenterCrop(side, side), Normalize(statistics));
}

}  // namespace attune::examples
