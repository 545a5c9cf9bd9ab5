#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/data/image.h"

namespace attune {
namespace {

// The decoder grows some buffers as the compressed data demands, whatever size the file's header
// has announced. It allocates through these functions, which refuse a block larger than the image
// being decoded can need. Blocks begin as zeros: a decoder of 2022 uses a JPEG's Huffman table even
// if the file has none, and indexes with what it finds.
thread_local std::size_t largest_block = 0;

// NOLINTBEGIN(cppcoreguidelines-no-malloc): what stb_image asks for
void* limited_malloc(std::size_t bytes) {
  return bytes <= largest_block ? std::calloc(1, bytes) : nullptr;
}

void* limited_realloc(void* block, std::size_t bytes) {
  return bytes <= largest_block ? std::realloc(block, bytes) : nullptr;
}
// NOLINTEND(cppcoreguidelines-no-malloc)

// A part of a PNG may be empty, and then is copied to a buffer that is none yet: memcpy is not made
// for that.
void* copy_bytes(void* to, const void* from, std::size_t bytes) {
  return bytes == 0 ? to : std::memcpy(to, from, bytes);
}

}  // namespace
}  // namespace attune

#define STBI_MALLOC(bytes) attune::limited_malloc(bytes)
#define STBI_REALLOC(block, bytes) attune::limited_realloc(block, bytes)
#define STBI_FREE(block) std::free(block)
#define memcpy(to, from, bytes) attune::copy_bytes(to, from, bytes)
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_ONLY_PNM
#define STBI_NO_STDIO
#define STBI_FAILURE_USERMSG
#define STB_IMAGE_STATIC  // A program that links attune may have its own copy of stb_image.
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include <stb_image.h>
#pragma GCC diagnostic pop
#undef memcpy

namespace attune {
namespace {

// Beyond one byte per channel and pixel: 16-bit PNG (8 bytes per pixel) in a buffer that grows by
// doubling; coefficients of a progressive JPEG; and fixed tables, JPEG and GIF having the largest.
constexpr std::size_t kBytesPerPixel = 32;
constexpr std::size_t kFixedBytes = std::size_t{1} << 20;

constexpr int kChannels = 3;

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(format_text("image {}: {}", path, reason));
}

std::vector<stbi_uc> read_bytes(const std::string& path, std::int64_t max_bytes) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) fail(path, error.message());
  if (bytes == 0) fail(path, "the file is empty");
  const std::int64_t limit = std::min<std::int64_t>(max_bytes, std::numeric_limits<int>::max());
  if (bytes > static_cast<std::uintmax_t>(limit)) {
    fail(path, format_text("the file has {} bytes, more than the limit of {}", bytes, limit));
  }
  std::vector<stbi_uc> content(bytes);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path, std::strerror(errno));
  if (!file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(bytes))) {
    fail(path, format_text("cannot read its {} bytes", bytes));
  }
  return content;
}

// A decoder of 2022 trusts the numbers of codes in a JPEG's Huffman tables and writes past its own
// for more than 256. So its way through the markers (ITU-T T.81, section B.1.1.3) is gone before:
// segments are skipped by their length, and what lies between them up to the next marker.
class JpegTables {
 public:
  explicit JpegTables(const std::vector<stbi_uc>& file) : file_(file) {}

  bool valid() const {
    constexpr int kHuffman = 0xc4;
    for (std::size_t at = 0; at < file_.size();) {
      if (byte(at++) != 0xff) continue;
      while (byte(at) == 0xff) ++at;
      const int marker = byte(at++);
      if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd9)) continue;  // no segment follows
      const int length = 256 * byte(at) + byte(at + 1);
      if (marker == kHuffman && !segment_valid(at + 2, length - 2)) return false;
      at += static_cast<std::size_t>(std::max(length, 2));
    }
    return true;
  }

 private:
  // As the decoder has it, zeros follow the end.
  int byte(std::size_t at) const { return at < file_.size() ? file_[at] : 0; }

  // Tables of 1 byte for what they are, 16 with the number of codes of each length, and the codes.
  bool segment_valid(std::size_t at, int bytes) const {
    while (bytes > 0) {
      int codes = 0;
      for (std::size_t i = 1; i <= 16; ++i) codes += byte(at + i);
      if (codes > 256) return false;
      at += static_cast<std::size_t>(17 + codes);
      bytes -= 17 + codes;
    }
    return true;
  }

  const std::vector<stbi_uc>& file_;
};

// What is wrong with the header of a PPM or PGM file, three numbers among spaces and comments. The
// decoder lets them overflow, and takes pixels of 16 bits for bytes and reads past their end.
std::string pnm_fault(const std::vector<stbi_uc>& file) {
  std::size_t at = 2;
  const auto next = [&] { return at < file.size() ? file[at] : stbi_uc{0}; };
  std::int64_t number = 0;
  for (int i = 0; i < 3; ++i) {
    while (std::isspace(next()) != 0 || next() == '#') {
      const bool comment = next() == '#';
      while (comment && at < file.size() && next() != '\n' && next() != '\r') ++at;
      ++at;
    }
    number = 0;
    for (; std::isdigit(next()) != 0; ++at) {
      number = 10 * number + (next() - '0');
      if (number > std::numeric_limits<int>::max()) return "a number in its header is too large";
    }
  }
  return number > 255 ? "a PPM or PGM file of 16 bits is not supported" : "";
}

// Why the decoder gave up. It asks first whether the file is a PNG, and some faults of a JPEG leave
// it at that answer.
std::string decoder_fault(bool is_jpeg) {
  const std::string reason = stbi_failure_reason();
  return is_jpeg && reason == "Not a PNG" ? "its data are damaged" : reason;
}

}  // namespace

ByteImage read_image(const std::string& path, const ImageFileLimits& limits) {
  const std::vector<stbi_uc> content = read_bytes(path, limits.max_file_bytes);
  const int bytes = static_cast<int>(content.size());
  const bool is_jpeg = content[0] == 0xff;  // no other format begins so
  if (is_jpeg && !JpegTables(content).valid()) fail(path, "a Huffman table has too many codes");
  if (content[0] == 'P') {
    const std::string fault = pnm_fault(content);
    if (!fault.empty()) fail(path, fault);
  }
  int width = 0;
  int height = 0;
  int file_channels = 0;
  largest_block = kFixedBytes;
  if (!stbi_info_from_memory(content.data(), bytes, &width, &height, &file_channels)) {
    fail(path, decoder_fault(is_jpeg));
  }
  if (width <= 0 || height <= 0) fail(path, "it has no pixels");
  if (width > limits.max_pixels / height) {
    fail(path, format_text("{} x {} pixels (height x width), more than the limit of {}", height,
                           width, limits.max_pixels));
  }

  ByteImage image{{height, width, kChannels}, {}};
  const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  largest_block = kFixedBytes + kBytesPerPixel * pixels;
  const std::unique_ptr<stbi_uc, decltype(&std::free)> decoded(
      stbi_load_from_memory(content.data(), bytes, &width, &height, &file_channels, kChannels),
      &std::free);
  if (!decoded) fail(path, decoder_fault(is_jpeg));
  if (width != image.size.width || height != image.size.height) {
    fail(path, "its parts disagree about its size");
  }
  image.pixels.assign(decoded.get(), decoded.get() + image.size.count());
  return image;
}

}  // namespace attune
