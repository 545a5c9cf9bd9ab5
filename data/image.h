#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace attune {

/// Extents of an image; `channels` is 3 (red, green, blue) in every data set of this library.
struct ImageSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;

  std::int64_t count() const { return height * width * channels; }
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

/// "32x32x3": height, width, channels.
std::string to_string(const ImageSize& size);

/// One image in ordinary memory: [height, width, channels], row-major.
template <typename T>
struct BasicImage {
  ImageSize size;
  std::vector<T> pixels;  // size.count() of them

  /// The channels of the pixel in row y, column x.
  T* at(std::int64_t y, std::int64_t x) { return pixels.data() + offset(y, x); }
  const T* at(std::int64_t y, std::int64_t x) const { return pixels.data() + offset(y, x); }

 private:
  std::int64_t offset(std::int64_t y, std::int64_t x) const {
    return (y * size.width + x) * size.channels;
  }
};

/// What data sets hold and files contain: 0 to 255.
using ByteImage = BasicImage<std::uint8_t>;
/// What transforms work on: 0 to 1 until it is normalised.
using Image = BasicImage<float>;

/// Divides by 255. `image` is overwritten; its memory is used again.
void to_float(const ByteImage& bytes, Image& image);

/// What an image file may ask for. The limits hold before anything of that size is allocated, so
/// that a small malicious file cannot exhaust the memory.
struct ImageFileLimits {
  std::int64_t max_file_bytes = std::int64_t{64} << 20;
  std::int64_t max_pixels = std::int64_t{64} << 20;  // height times width
};

/// Reads a PNG, JPEG, BMP, GIF (first frame), PPM or PGM file as [height, width, 3]: grey is
/// repeated, alpha dropped, 16 bits of a PNG cut to 8, orientation tags ignored. Throws Error,
/// naming the file and the reason, if it cannot be read or exceeds the limits.
ByteImage read_image(const std::string& path, const ImageFileLimits& limits = {});

}  // namespace attune
