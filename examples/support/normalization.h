#pragma once

#include <attune/data/transforms.h>
#include <attune/layers/models/image_classifier.h>

#include <string>

namespace attune::examples {

/// What --normalize takes: "cifar", "imagenet", or "MEAN:STD", each one number or three, such as
/// "0.5:0.25" and "0.485,0.456,0.406:0.229,0.224,0.225". Throws Error for anything else.
ChannelStatistics parse_statistics(const std::string& text);
/// The inverse, "MEAN:STD", to the last bit; files of weights carry it as "attune.normalize".
std::string to_string(const ChannelStatistics& statistics);

/// The side of the square images that a network with this stem is made for.
std::int64_t image_side(Stem stem);
/// To a shorter side that is a seventh longer than `side`; a square of that is then cropped.
Resize picture_resize(std::int64_t side);
/// From a picture of any size to a square: what is tested with, and classified.
Compose picture_transform(std::int64_t side, const ChannelStatistics& statistics);

}  // namespace attune::examples
