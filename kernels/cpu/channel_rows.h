#pragma once

#include <algorithm>
#include <cstdint>

#include "attune/kernels/cpu/parallel.h"

// How CPU kernels walk over activations [pixels, channels] with one coefficient, or one sum, per
// channel. The plain double loop has an inner loop as long as there are channels: 16 of them are
// two vectors, most of whose time is overhead, and a sum over pixels waits for its own last
// addition. So whole pixels are strung together into rows of up to kMaxRow elements, the
// coefficients repeated alongside; more channels than that are taken kMaxRow at a time.
namespace attune::kernels::cpu {

/// The most elements in a row: coefficient arrays of this size live on the stack.
inline constexpr std::int64_t kMaxRow = 512;

/// Elements in a row that several pixels make up: enough, and coefficients are soon repeated.
inline constexpr std::int64_t kPixelsRow = 128;

/// Elements that one thread takes at a time: enough to outweigh waking it up.
inline constexpr std::int64_t kGrain = 16384;

/// Channels [first, first + count), `repeat` neighbouring pixels to a row (1 unless the tile has
/// all the channels).
struct ChannelTile {
  std::int64_t first = 0, count = 0, repeat = 1;

  std::int64_t width() const { return count * repeat; }
};

/// One value for each element of a row, on the stack.
template <typename T>
struct Row {
  T values[kMaxRow];

  T& operator[](std::int64_t i) { return values[i]; }
  const T& operator[](std::int64_t i) const { return values[i]; }
};

/// Calls body(tile) for tiles that cover the channels.
template <typename Body>
void for_each_tile(std::int64_t channels, const Body& body) {
  for (std::int64_t first = 0; first < channels; first += kMaxRow) {
    const std::int64_t count = std::min(kMaxRow, channels - first);
    body(ChannelTile{first, count,
                     count == channels ? std::max<std::int64_t>(1, kPixelsRow / channels) : 1});
  }
}

/// Calls body(offset, size) for the rows of `tile` that cover `pixels`; `offset` is that of the
/// row's first element in the whole array. Only the last row may be shorter than the tile is wide.
template <typename Body>
void for_each_row(const ChannelTile& tile, Range pixels, std::int64_t channels, const Body& body) {
  for (std::int64_t p = pixels.first; p < pixels.last; p += tile.repeat) {
    body(p * channels + tile.first, std::min(tile.repeat, pixels.last - p) * tile.count);
  }
}

/// Fills `row` with value(channel), repeated for every pixel of a row.
template <typename T, typename Value>
void spread(Row<T>& row, const ChannelTile& tile, const Value& value) {
  for (std::int64_t i = 0; i < tile.count; ++i) row[i] = value(tile.first + i);
  for (std::int64_t i = tile.count; i < tile.width(); ++i) row[i] = row[i - tile.count];
}

/// The reverse, for sums: adds the pixels of `row` up in its first `tile.count` elements.
inline void gather(Row<double>& row, const ChannelTile& tile) {
  for (std::int64_t pixel = tile.count; pixel < tile.width(); pixel += tile.count)
    for (std::int64_t i = 0; i < tile.count; ++i) row[i] += row[pixel + i];
}

/// sums[c - tile.first] = the sum over `pixels` of x, for every channel c of the tile.
template <typename T>
void sum_rows(Row<double>& sums, const T* x, const ChannelTile& tile, Range pixels,
              std::int64_t channels) {
  std::fill_n(sums.values, tile.width(), 0.0);
  for_each_row(tile, pixels, channels, [&](std::int64_t offset, std::int64_t size) {
    const T* row = x + offset;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) sums[i] += double{row[i]};
  });
  gather(sums, tile);
}

/// Into how many slices to cut a sum of `count` elements, at most kMaxSlices: by its size alone.
inline constexpr std::int64_t kMaxSlices = 64;
inline std::int64_t slices_of(std::int64_t count) {
  return std::clamp<std::int64_t>(count / (2 * kGrain), 1, kMaxSlices);
}

}  // namespace attune::kernels::cpu
