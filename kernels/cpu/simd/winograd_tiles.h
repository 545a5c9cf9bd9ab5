#pragma once

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/winograd_product.h"
#include "attune/kernels/memory.h"

// Tiles of 4x4 outputs on their way between images and the frequency domain of Winograd's
// algorithm.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// One image on either side of a correlation with a 3x3 filter, `pad` being the source's.
struct Geometry {
  std::int64_t images = 0;
  std::int64_t height = 0, width = 0, channels = 0, pad_h = 0, pad_w = 0;
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;

  std::int64_t tile_rows() const { return ceil_div(out_height, kTile); }
  std::int64_t tile_columns() const { return ceil_div(out_width, kTile); }
  std::int64_t tiles() const { return images * tile_rows() * tile_columns(); }
};

/// A tile of the batch: its image, and its first output pixel.
struct TilePosition {
  std::int64_t image = 0, row = 0, column = 0;
};

inline TilePosition position(const Geometry& g, std::int64_t tile) {
  const std::int64_t row = tile / g.tile_columns();
  return {row / g.tile_rows(), row % g.tile_rows() * kTile, tile % g.tile_columns() * kTile};
}

/// position() of the tile after. For few channels its three divisions would take longer than all
/// else that is done with a tile.
inline void advance(const Geometry& g, TilePosition& at) {
  at.column += kTile;
  if (at.column < g.out_width) return;
  at.column = 0;
  at.row += kTile;
  if (at.row < g.out_height) return;
  at.row = 0;
  ++at.image;
}

/// Calls visit(i, position) for the i-th of consecutive tiles.
template <typename Visit>
ATTUNE_INLINE void for_each_tile(const Geometry& g, Range tiles, const Visit& visit) {
  TilePosition at = position(g, tiles.first);
  for (std::int64_t i = 0; i < tiles.size(); ++i, advance(g, at)) visit(i, at);
}

/// The 6x6 pixels under a tile: where column 0 of each row is, pixels `stride` elements apart. Of
/// the columns, those in `columns` exist; a row that does not is a row of zeros.
template <typename T>
struct Patch {
  const T* rows[kPatch];
  std::int64_t stride = 0;
  Range columns;
};

/// A row of zeros for patches at the border.
template <typename T>
class ZeroRow {
 public:
  explicit ZeroRow(const Geometry& g) : zeros_(kPatch * g.channels) {
    std::fill_n(zeros_.data(), kPatch * g.channels, T(0));
  }
  const T* data() const { return zeros_.data(); }

 private:
  Workspace<T> zeros_;
};

/// The patch under the tile at `at`. `zeros` is a row of them for a patch.
template <typename T>
ATTUNE_INLINE Patch<T> patch_at(const T* source, const Geometry& g, const TilePosition& at,
                                const T* zeros) {
  const std::int64_t h = at.row - g.pad_h, w = at.column - g.pad_w;
  const std::int64_t row_size = g.width * g.channels;
  const T* row = source + (at.image * g.height + h) * row_size + w * g.channels;
  Patch<T> patch;
  patch.stride = g.channels;
  patch.columns = {std::max<std::int64_t>(0, -w), std::min<std::int64_t>(kPatch, g.width - w)};
  unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
    patch.rows[i] = h + i >= 0 && h + i < g.height ? row + i * row_size : zeros;
  });
  return patch;
}

/// B^T d B of one vector of channels of a patch. Not inlined into the loop over the channels: the
/// compiler would compute all 36 addresses before the loop, and have no registers for them.
template <typename T>
[[gnu::noinline]] void transform_patch(T* to, std::int64_t frequency, const Patch<T>& patch,
                                       std::int64_t channel) {
  Vector<T> half[kPatch][kPatch];
  unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> d[kPatch], column[kPatch];
    if (j >= patch.columns.first && j < patch.columns.last) {
      unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
        d[i] = load(patch.rows[i] + channel + j * patch.stride);
      });
      transform_input(column, d);
      unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
    } else {
      unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = Vector<T>{}; });
    }
  });
  store_frequencies(to, frequency, half, [](auto& out, const auto& in) ATTUNE_INLINE_LAMBDA {
    transform_input(out, in);
  });
}

/// The patch under one tile, for all channels.
template <typename T>
void transform_patches(T* to, const BlockLayout& layout, const Patch<T>& patch) {
  for (std::int64_t c = 0; c < layout.channels; c += kLanes<T>) {
    transform_patch(to + layout.channel(c), layout.in_frequency(), patch, c);
  }
}

/// Where the 4x4 outputs of a tile are, of which `rows` x `columns` exist: the first of them,
/// elements between rows, and between neighbouring pixels.
struct TileExtent {
  std::int64_t first = 0, row = 0, pixel = 0;
  std::int64_t rows = 0, columns = 0;

  bool whole() const { return rows == kTile && columns == kTile; }
};

ATTUNE_INLINE TileExtent extent_of(const Geometry& g, const TilePosition& at) {
  return {((at.image * g.out_height + at.row) * g.out_width + at.column) * g.out_channels,
          g.out_width * g.out_channels, g.out_channels,
          std::min<std::int64_t>(kTile, g.out_height - at.row),
          std::min<std::int64_t>(kTile, g.out_width - at.column)};
}

/// A^T m A of one vector of channels of a tile, from `channel` on, and the epilogue. Not inlined,
/// like transform_patch.
template <bool kWhole, typename T>
[[gnu::noinline]] void transform_product(T* out, const Conv2dEpilogue<T>& epilogue,
                                         const TileExtent& tile, std::int64_t channel,
                                         const T* product, std::int64_t frequency) {
  Vector<T> half[kTile][kPatch];
  unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> m[kPatch], column[kTile];
    unroll<kPatch>(
        [&](auto i) ATTUNE_INLINE_LAMBDA { m[i] = load(product + (i * kPatch + j) * frequency); });
    transform_output(column, m);
    unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
  });
  Vector<T> value[kTile][kTile];
  unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA { transform_output(value[i], half[i]); });

  const Conv2dEpilogue<T> e = epilogue;
  const TileExtent at = tile;
  const auto for_each = [&](const auto& body) ATTUNE_INLINE_LAMBDA {
    unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA {
      unroll<kTile>([&](auto j) ATTUNE_INLINE_LAMBDA {
        if (kWhole || (i < at.rows && j < at.columns)) {
          body(value[i][j], at.first + i * at.row + j * at.pixel + channel, channel);
        }
      });
    });
  };
  apply_epilogue_to_all(e, for_each);
  for_each([&](auto& v, auto i, auto) ATTUNE_INLINE_LAMBDA { store(out + i, v); });
}

/// The products of one tile, for output channels [first, ...), as many as there are in `layout`.
template <typename T>
void transform_products(T* y, const Conv2dEpilogue<T>& epilogue, const TileExtent& tile,
                        const T* products, const BlockLayout& layout, std::int64_t first = 0) {
  const auto transform = tile.whole() ? transform_product<true, T> : transform_product<false, T>;
  const std::int64_t count = std::min(layout.out_blocks * layout.width, tile.pixel - first);
  for (std::int64_t k = 0; k < count; k += kLanes<T>) {
    transform(y, epilogue, tile, first + k, products + layout.output(k), layout.out_frequency());
  }
}

/// A dy A^T of one vector of channels of a tile: the adjoint of transform_product.
template <typename T>
[[gnu::noinline]] void transform_gradient(T* to, std::int64_t frequency, const T* dy,
                                          const TileExtent& tile) {
  Vector<T> half[kPatch][kTile];
  unroll<kTile>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> d[kTile], column[kPatch];
    unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA {
      const bool exists = i < tile.rows && j < tile.columns;
      d[i] = exists ? load(dy + i * tile.row + j * tile.pixel) : Vector<T>{};
    });
    transform_output_gradient(column, d);
    unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
  });
  store_frequencies(to, frequency, half, [](auto& out, const auto& in) ATTUNE_INLINE_LAMBDA {
    transform_output_gradient(out, in);
  });
}

/// The gradients of one tile, for some output channels.
template <typename T>
void transform_gradients(T* to, const BlockLayout& layout, const T* dy, const TileExtent& tile,
                         Range outputs) {
  for (std::int64_t k = outputs.first; k < outputs.last; k += kLanes<T>) {
    transform_gradient(to + layout.output(k), layout.out_frequency(), dy + tile.first + k, tile);
  }
}

/// Fetches the cache lines of a tile's 4x4 pixels in an image: those to be written into the L1
/// cache, those to be read no further than L2.
template <bool kWrite, typename T>
ATTUNE_INLINE void prefetch_tile(const T* image, std::int64_t height, std::int64_t width,
                                 std::int64_t channels, const TilePosition& at) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  const std::int64_t rows = std::min<std::int64_t>(kTile, height - at.row);
  const std::int64_t size = std::min<std::int64_t>(kTile, width - at.column) * channels;
  const T* row = image + ((at.image * height + at.row) * width + at.column) * channels;
  for (std::int64_t i = 0; i < rows; ++i, row += width * channels) {
    for (std::int64_t c = 0; c < size; c += kLine) {
      kWrite ? __builtin_prefetch(row + c, 1, 3) : __builtin_prefetch(row + c, 0, 2);
    }
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
