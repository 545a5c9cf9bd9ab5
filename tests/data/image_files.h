#pragma once

#include <cstdint>
#include <string>

#include "attune/data/image.h"

// Making image files for tests.
namespace attune::test {

/// A smooth pattern that is different in every channel and for every `id`.
ByteImage make_image(std::int64_t height, std::int64_t width, std::int64_t channels, int id);

std::string encode_png(const ByteImage& image);
std::string encode_bmp(const ByteImage& image);
std::string encode_jpeg(const ByteImage& image);

/// A grey PNG of the given size whose compressed part unpacks to `data`, whatever the size asks
/// for.
std::string png_of_data(std::uint32_t height, std::uint32_t width, const std::string& data);

}  // namespace attune::test
