#include "image_files.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb_image_write.h>
#pragma GCC diagnostic pop

#include <memory>

namespace attune::test {
namespace {

void append(void* text, void* data, int bytes) {
  static_cast<std::string*>(text)->append(static_cast<const char*>(data),
                                          static_cast<std::size_t>(bytes));
}

struct Extents {
  explicit Extents(const ImageSize& size)
      : height(static_cast<int>(size.height)),
        width(static_cast<int>(size.width)),
        channels(static_cast<int>(size.channels)) {}
  int height, width, channels;
};

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

// The checksum is zero: decoders that look at it would refuse the file, stb_image does not.
std::string chunk(const std::string& type, const std::string& content) {
  return big_endian(static_cast<std::uint32_t>(content.size())) + type + content + big_endian(0);
}

}  // namespace

ByteImage make_image(std::int64_t height, std::int64_t width, std::int64_t channels, int id) {
  ByteImage image{{height, width, channels}, {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < channels; ++c) {
        image.pixels.push_back(static_cast<std::uint8_t>((4 * y + 3 * x + 40 * c + 20 * id) % 200));
      }
    }
  }
  return image;
}

std::string encode_png(const ByteImage& image) {
  std::string bytes;
  const Extents size(image.size);
  stbi_write_png_to_func(append, &bytes, size.width, size.height, size.channels,
                         image.pixels.data(), 0);
  return bytes;
}

std::string encode_bmp(const ByteImage& image) {
  std::string bytes;
  const Extents size(image.size);
  stbi_write_bmp_to_func(append, &bytes, size.width, size.height, size.channels,
                         image.pixels.data());
  return bytes;
}

std::string encode_jpeg(const ByteImage& image) {
  constexpr int kQuality = 95;
  std::string bytes;
  const Extents size(image.size);
  stbi_write_jpg_to_func(append, &bytes, size.width, size.height, size.channels,
                         image.pixels.data(), kQuality);
  return bytes;
}

std::string png_of_data(std::uint32_t height, std::uint32_t width, const std::string& data) {
  constexpr int kQuality = 8;
  std::string copy = data;
  int compressed_bytes = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> compressed(
      stbi_zlib_compress(reinterpret_cast<unsigned char*>(copy.data()),
                         static_cast<int>(copy.size()), &compressed_bytes, kQuality),
      &std::free);
  const std::string packed(reinterpret_cast<const char*>(compressed.get()),
                           static_cast<std::size_t>(compressed_bytes));
  // IHDR: width, height, 8 bits, grey, and the only methods of compression, filtering, interlacing.
  const std::string header =
      big_endian(width) + big_endian(height) + std::string("\x08\0\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", packed) + chunk("IEND", "");
}

}  // namespace attune::test
