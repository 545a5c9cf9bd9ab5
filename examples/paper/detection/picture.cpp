#include "paper/detection/picture.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb_image_write.h>
#pragma GCC diagnostic pop

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "support/chart.h"

namespace attune::examples {
namespace {

constexpr double kWidth = 720;  // as charts have it
constexpr double kGap = 6;
constexpr double kTitle = 24;  // height of the line above a strip

void append(void* bytes, void* data, int count) {
  const auto* const first = static_cast<const std::uint8_t*>(data);
  static_cast<std::vector<std::uint8_t>*>(bytes)->insert(
      static_cast<std::vector<std::uint8_t>*>(bytes)->end(), first, first + count);
}

/// A frame in a scene that is shown at (x, y), `scale` times as large.
std::string frame(const Box& box, double x, double y, double scale, const char* style) {
  return fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" style=\"fill: none; "
      "{}\"/>\n",
      x + box.left * scale, y + box.top * scale, (box.right - box.left) * scale,
      (box.bottom - box.top) * scale, style);
}

bool is_right(const Detection& detection, const std::vector<Object>& objects) {
  return std::any_of(objects.begin(), objects.end(), [&](const Object& object) {
    return object.label == detection.label && overlap(object.box, detection.box) >= 0.5;
  });
}

}  // namespace

std::string base64(std::span<const std::uint8_t> bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? bytes[i + j] : 0U);
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? kDigits[group >> (18 - 6 * j) & 63U] : '=';
    }
  }
  return text;
}

std::string jpeg_base64(const Image& image) {
  constexpr int kQuality = 90;
  std::vector<std::uint8_t> pixels, file;
  for (const float pixel : image.pixels) {
    pixels.push_back(static_cast<std::uint8_t>(std::lround(255 * std::clamp(pixel, 0.0F, 1.0F))));
  }
  stbi_write_jpg_to_func(append, &file, static_cast<int>(image.size.width),
                         static_cast<int>(image.size.height), static_cast<int>(image.size.channels),
                         pixels.data(), kQuality);
  return base64(file);
}

std::string to_svg(const Strip& strip, const std::vector<Answer>& answers, double least_score) {
  const auto count = static_cast<double>(strip.scenes.size());
  const double size = (kWidth - kGap * (count - 1)) / count;
  const double scale = size / static_cast<double>(strip.side);
  const double row = kTitle + size + kGap;
  std::string svg = fmt::format(
      "<svg class=\"chart\" viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"boxes found\" "
      "xmlns=\"http://www.w3.org/2000/svg\">\n<defs>\n",
      kWidth, row * static_cast<double>(answers.size()));
  for (std::size_t i = 0; i < strip.scenes.size(); ++i) {
    svg += fmt::format(
        "<image id=\"scene{}\" width=\"{:.1f}\" height=\"{:.1f}\" "
        "href=\"data:image/jpeg;base64,{}\"/>\n",
        i, size, size, strip.scenes[i]);
  }
  svg += "</defs>\n";
  for (std::size_t a = 0; a < answers.size(); ++a) {
    const double top = row * static_cast<double>(a) + kTitle;
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\" class=\"start\">{}</text>\n", top - 8,
                       escape_xml(answers[a].name));
    for (std::size_t i = 0; i < strip.scenes.size(); ++i) {
      const double left = (size + kGap) * static_cast<double>(i);
      svg += fmt::format("<use href=\"#scene{}\" x=\"{:.1f}\" y=\"{:.1f}\"/>\n", i, left, top);
      const std::vector<Object>& objects = strip.objects.at(i);
      for (const Object& object : objects) {
        svg += frame(object.box, left, top, scale, "stroke: white; stroke-dasharray: 3 3");
      }
      for (const Detection& found : answers[a].found.at(i)) {
        if (found.score < least_score) continue;
        const bool right = is_right(found, objects);
        const char* const color = right ? "stroke: #56b4e9" : "stroke: #ff5a36";
        svg += frame(found.box, left, top, scale, color);
        svg += fmt::format(
            "<text x=\"{:.1f}\" y=\"{:.1f}\" style=\"font-size: 9px; fill: white; paint-order: "
            "stroke; {}; stroke-width: 2.5px\">{} {:.0f} %</text>\n",
            left + found.box.left * scale + 2, top + found.box.top * scale + 9,
            right ? "stroke: #08466e" : "stroke: #8c1c05",
            escape_xml(strip.classes.at(static_cast<std::size_t>(found.label))), 100 * found.score);
      }
    }
  }
  return svg + "</svg>\n";
}

}  // namespace attune::examples
