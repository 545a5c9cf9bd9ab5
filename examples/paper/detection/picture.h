#pragma once

#include <attune/data/image.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "paper/detection/boxes.h"

namespace attune::examples {

/// Bytes as text: base64 (RFC 4648, section 4), with padding.
std::string base64(std::span<const std::uint8_t> bytes);

/// An image from 0 to 1 as a JPEG file, in base64: what an SVG can contain.
std::string jpeg_base64(const Image& image);

/// Scenes side by side, each `side` pixels wide and high.
struct Strip {
  std::int64_t side = 0;
  std::vector<std::string> scenes = {};  ///< jpeg_base64()
  Truth objects = {};
  std::vector<std::string> classes = {};  ///< their names
};

/// What somebody says of them.
struct Answer {
  std::string name;
  Detections found;
};

/// The strip once for each answer, below each other, with the objects' boxes (dashed) and those
/// found (blue: an object of this class is there, red: there is none; overlap at least 1/2) whose
/// score is `least_score` or more. SVG as to_svg() of chart.h gives it.
std::string to_svg(const Strip& strip, const std::vector<Answer>& answers, double least_score);

}  // namespace attune::examples
