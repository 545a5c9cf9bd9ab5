#include "attune/data/image.h"

#include <algorithm>

namespace attune {

std::string to_string(const ImageSize& size) {
  return std::to_string(size.height) + "x" + std::to_string(size.width) + "x" +
         std::to_string(size.channels);
}

void to_float(const ByteImage& bytes, Image& image) {
  image.size = bytes.size;
  image.pixels.resize(bytes.pixels.size());
  std::transform(bytes.pixels.begin(), bytes.pixels.end(), image.pixels.begin(),
                 [](std::uint8_t value) { return static_cast<float>(value) / 255.0f; });
}

}  // namespace attune
