#pragma once

#include <cstdint>

#include "attune/kernels/image_batch.h"
#include "attune/kernels/philox_sequence.h"

// What make_image_batch() does to one pixel, on the CPU and on GPUs alike.
namespace attune::kernels {

/// Where one image is cut, and whether it is mirrored.
struct ImageCut {
  std::int64_t top = 0, left = 0;
  bool mirrored = false;
};

constexpr ImageCut draw_cut(const ImageBatchSettings& settings, std::int64_t index) {
  PhiloxSequence random(settings.seed, static_cast<std::uint64_t>(index));
  ImageCut cut;
  if (settings.padding >= 0) {
    cut.top = next_below(random, 2 * settings.padding + 1) - settings.padding;
    cut.left = next_below(random, 2 * settings.padding + 1) - settings.padding;
  }
  if (settings.flip_probability >= 0)
    cut.mirrored = next_uniform(random) < settings.flip_probability;
  return cut;
}

/// Writes pixel [row, column] of the image that begins at `image` to y [channels].
template <typename T>
constexpr void write_pixel(T* y, const std::uint8_t* image, std::int64_t row, std::int64_t column,
                           const ImageCut& cut, const ImageBatchSettings& settings) {
  const std::int64_t from_row = cut.top + row;
  const std::int64_t from_column = cut.left + (cut.mirrored ? settings.width - 1 - column : column);
  const bool inside = from_row >= 0 && from_row < settings.height && from_column >= 0 &&
                      from_column < settings.width;
  const std::int64_t from = (from_row * settings.width + from_column) * settings.channels;
  for (std::int64_t c = 0; c < settings.channels; ++c) {
    const float value = inside ? static_cast<float>(image[from + c]) / 255.0f : 0.0f;
    y[c] = static_cast<T>((value - settings.mean[c]) / settings.deviation[c]);
  }
}

}  // namespace attune::kernels
