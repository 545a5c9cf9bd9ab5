#include "attune/kernels/cpu/simd/winograd.h"

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/pack.h"
#include "attune/kernels/cpu/simd/winograd_filter.h"
#include "attune/kernels/cpu/simd/winograd_transform.h"
#include "attune/kernels/memory.h"

// A pass takes blocks of tiles of 4x4 outputs. Each tile's 6x6 inputs are transformed into 36
// frequencies; at each frequency the tiles of a block, [tiles, channels], are multiplied with the
// transformed filter, [channels, outputs], by the micro-kernel of the direct convolution; and the
// products are transformed back. One thread does all of that for its block, so the frequencies
// never leave its cache.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

constexpr std::int64_t kMaxWorkers = 16;  // scratch is sized by the shape alone

// Added to the distance between frequencies, else a multiple of 4 KB: all 36 that a transform
// writes one after the other would fall into the same few sets of the L1 cache.
constexpr std::int64_t kGap = 16;

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

TilePosition position(const Geometry& g, std::int64_t tile) {
  const std::int64_t row = tile / g.tile_columns();
  return {row / g.tile_rows(), row % g.tile_rows() * kTile, tile % g.tile_columns() * kTile};
}

/// position() of the tile after. For few channels its three divisions would take longer than all
/// else that is done with a tile.
void advance(const Geometry& g, TilePosition& at) {
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

/// A block of tiles in the frequency domain. The side that is broadcast is
/// [block of channels][frequency][tile][channel], as the micro-kernel reads runs of channels; the
/// side that is loaded as vectors is [frequency][tile][channel].
struct BlockLayout {
  std::int64_t tiles = 0, channels = 0, out_channels = 0;

  std::int64_t in_frequency() const { return tiles * kBlock + kGap; }
  std::int64_t in_block() const { return kFrequencies * in_frequency(); }
  std::int64_t in_size() const { return channels / kBlock * in_block(); }
  std::int64_t out_frequency() const { return tiles * out_channels + kGap; }
  std::int64_t size() const { return in_size() + kFrequencies * out_frequency(); }
};

/// B^T d B of one vector of channels of a patch. Not inlined into the loop over the channels: the
/// compiler would compute all 36 addresses before the loop, and have no registers for them.
template <typename T>
[[gnu::noinline]] void transform_patch(T* to, std::int64_t frequency, const T* from,
                                       std::int64_t row, std::int64_t pixel) {
  Vector<T> half[kPatch][kPatch];
  unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> d[kPatch], column[kPatch];
    unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { d[i] = load(from + i * row + j * pixel); });
    transform_input(column, d);
    unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
  });
  unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
    Vector<T> transformed[kPatch];
    transform_input(transformed, half[i]);
    unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
      store(to + (i * kPatch + j) * frequency, transformed[j]);
    });
  });
}

/// The patch under one tile, for all channels.
template <typename T>
void transform_patches(T* to, const BlockLayout& layout, const T* source, const Geometry& g,
                       const TilePosition& at) {
  const std::int64_t h = at.row - g.pad_h, w = at.column - g.pad_w;
  const std::int64_t channels = g.channels, row = g.width * g.channels;
  const std::int64_t frequency = layout.in_frequency(), block = layout.in_block();
  const T* first = source + at.image * g.height * row + h * row + w * channels;
  if (h >= 0 && w >= 0 && h + kPatch <= g.height && w + kPatch <= g.width) {
    for (std::int64_t c = 0; c < channels; c += kLanes<T>) {
      transform_patch(to + c / kBlock * block + c % kBlock, frequency, first + c, row, channels);
    }
    return;
  }
  // At the border, from a copy that has zeros around it.
  constexpr int kVector = kLanes<T>;
  alignas(kVectorBytes) T padded[kPatch * kPatch * kVector] = {};
  for (std::int64_t c = 0; c < channels; c += kVector) {
    unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
      if (h + i < 0 || h + i >= g.height) return;
      const T* from = first + i * row + c;
      unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
        if (w + j < 0 || w + j >= g.width) return;
        store(padded + (i * kPatch + j) * kVector, load(from + j * channels));
      });
    });
    transform_patch(to + c / kBlock * block + c % kBlock, frequency, padded,
                    std::int64_t{kPatch * kVector}, std::int64_t{kVector});
  }
}

/// A^T m A of one vector of channels of a tile, and the epilogue; of the 4x4 pixels, `rows` x
/// `columns` exist. `at` is where the first is in `out`. Not inlined, like transform_patch.
template <typename T>
[[gnu::noinline]] void transform_product(const TileOutput<T>& out, std::int64_t at,
                                         std::int64_t row_size, std::int64_t rows,
                                         std::int64_t columns, const T* product,
                                         std::int64_t frequency) {
  Vector<T> half[kTile][kPatch];
  unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> m[kPatch], column[kTile];
    unroll<kPatch>(
        [&](auto i) ATTUNE_INLINE_LAMBDA { m[i] = load(product + (i * kPatch + j) * frequency); });
    transform_output(column, m);
    unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
  });
  unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA {
    if (i >= rows) return;
    Vector<T> row[kTile], tile[kTile][1];
    transform_output(row, half[i]);
    unroll<kTile>([&](auto j) ATTUNE_INLINE_LAMBDA { tile[j][0] = row[j]; });
    if (columns == kTile) {
      store_whole_tile(tile, out, at + i * row_size);
    } else {
      for (std::int64_t j = 0; j < columns; ++j) {
        Vector<T> one[1][1] = {{row[j]}};
        store_whole_tile(one, out, at + i * row_size + j * out.pixel_stride);
      }
    }
  });
}

/// The products of one tile, for all channels.
template <typename T>
void transform_products(T* y, const T* products, const BlockLayout& layout, const Geometry& g,
                        const TilePosition& at, const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t rows = std::min<std::int64_t>(kTile, g.out_height - at.row);
  const std::int64_t columns = std::min<std::int64_t>(kTile, g.out_width - at.column);
  const std::int64_t channels = g.out_channels;
  const std::int64_t first =
      ((at.image * g.out_height + at.row) * g.out_width + at.column) * channels;
  TileOutput<T> out{y, channels, kLanes<T>, epilogue};
  for (std::int64_t k = 0; k < channels; k += kLanes<T>) {
    transform_product(out, first + k, g.out_width * channels, rows, columns, products + k,
                      layout.out_frequency());
    if (out.epilogue.bias) out.epilogue.bias += kLanes<T>;
  }
}

/// A dy A^T of one vector of channels of a tile, of which `rows` x `columns` pixels exist: the
/// adjoint of transform_product.
template <typename T>
[[gnu::noinline]] void transform_gradient(T* to, std::int64_t frequency, const T* dy,
                                          std::int64_t row, std::int64_t pixel, std::int64_t rows,
                                          std::int64_t columns) {
  Vector<T> half[kPatch][kTile];
  unroll<kTile>([&](auto j) ATTUNE_INLINE_LAMBDA {
    Vector<T> d[kTile], column[kPatch];
    unroll<kTile>([&](auto i) ATTUNE_INLINE_LAMBDA {
      const bool exists = i < rows && j < columns;
      d[i] = exists ? load(dy + i * row + j * pixel) : Vector<T>{};
    });
    transform_output_gradient(column, d);
    unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
  });
  unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
    Vector<T> transformed[kPatch];
    transform_output_gradient(transformed, half[i]);
    unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
      store(to + (i * kPatch + j) * frequency, transformed[j]);
    });
  });
}

/// The gradients of one tile, for all channels.
template <typename T>
void transform_gradients(T* to, const BlockLayout& layout, const T* dy, const Geometry& g,
                         const TilePosition& at) {
  const std::int64_t channels = g.out_channels, row = g.out_width * channels;
  const T* first = dy + (at.image * g.out_height + at.row) * row + at.column * channels;
  for (std::int64_t k = 0; k < channels; k += kLanes<T>) {
    transform_gradient(to + k, layout.out_frequency(), first + k, row, channels,
                       g.out_height - at.row, g.out_width - at.column);
  }
}

/// Fetches the cache lines that a block of tiles will be written to, a few at each frequency: the
/// stores would otherwise wait for them all at once, while the multiplications leave the memory
/// idle.
template <typename T>
class OutputPrefetcher {
 public:
  OutputPrefetcher(const T* out, const Geometry& g, Range tiles)
      : out_(out), g_(g), rows_(tiles.size() * kTile), at_(position(g, tiles.first)) {}

  /// Fetches up to the share of the tiles' rows that belongs to the first `frequencies`.
  void fetch(int frequencies) {
    for (; next_ * kFrequencies < rows_ * frequencies; ++next_) {
      const std::int64_t row = at_.row + next_ % kTile;
      if (row < g_.out_height) {
        const std::int64_t pixels = std::min<std::int64_t>(kTile, g_.out_width - at_.column);
        const T* first = out_ + ((at_.image * g_.out_height + row) * g_.out_width + at_.column) *
                                    g_.out_channels;
        for (std::int64_t i = 0; i < pixels * g_.out_channels; i += kLine) {
          __builtin_prefetch(first + i, 1);
        }
      }
      if (next_ % kTile == kTile - 1) advance(g_, at_);
    }
  }

 private:
  static constexpr std::int64_t kLine = 64 / sizeof(T);
  const T* out_;
  const Geometry& g_;
  std::int64_t rows_;  ///< of the tiles
  std::int64_t next_ = 0;
  TilePosition at_;
};

/// Tiles that a thread takes at a time: few enough for their frequencies to stay in the L2 cache,
/// enough to be worth streaming the transformed filter for, which is larger than the cache where
/// there are many channels.
std::int64_t tiles_per_block(const Geometry& g) {
  const std::int64_t pairs = g.channels * g.out_channels;
  return pairs <= 64 * 64 ? 16 : pairs <= 128 * 128 ? 32 : 64;
}

/// The same for the gradient of the filter, whose sums go through the registers once a block.
std::int64_t tiles_per_weight_block(const Geometry& g) {
  return g.channels * g.out_channels <= 32 * 32 ? 64 : 32;
}

template <typename T, typename Body>
void with_vectors(std::int64_t out_channels, const Body& body) {
  out_channels > kLanes<T> ? body.template operator()<2>() : body.template operator()<1>();
}

template <typename T>
void correlate(T* out, const T* source, const T* w, const Geometry& g, const FilterView& view,
               const Conv2dEpilogue<T>& epilogue) {
  with_vectors<T>(g.out_channels, [&]<int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    const std::int64_t width_blocks = ceil_div(g.out_channels, kWidth);
    const Workspace<T> u(kFrequencies * width_blocks * kWidth * g.channels);
    transform_filters<kVectors>(u.data(), w, view);

    const std::int64_t blocks = ceil_div(g.tiles(), tiles_per_block(g));
    const BlockLayout layout{std::min(tiles_per_block(g), g.tiles()), g.channels,
                             width_blocks * kWidth};
    const std::int64_t channel_blocks = g.channels / kBlock;
    const Workspace<Run> runs(channel_blocks);
    for (std::int64_t b = 0; b < channel_blocks; ++b) {
      runs.data()[b] = {b * layout.in_block(), kBlock};
    }
    const std::int64_t workers = std::min(blocks, kMaxWorkers);
    const Workspace<T> scratch(workers * layout.size());
    parallel_for_workers(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
      T* patches = scratch.data() + worker * layout.size();
      T* products = patches + layout.in_size();
      const Range tiles{block * layout.tiles, std::min(g.tiles(), (block + 1) * layout.tiles)};
      for_each_tile(g, tiles, [&](std::int64_t t, const TilePosition& at) {
        transform_patches(patches + t * kBlock, layout, source, g, at);
      });
      OutputPrefetcher output(out, g, tiles);
      for (int f = 0; f < kFrequencies; ++f) {
        output.fetch(f + 1);
        for (std::int64_t k = 0; k < width_blocks; ++k) {
          multiply_row<kBlock, kVectors>(
              patches + f * layout.in_frequency(),
              u.data() + (f * width_blocks + k) * g.channels * kWidth, runs.data(), channel_blocks,
              TileOutput<T>{products + f * layout.out_frequency() + k * kWidth,
                            layout.out_channels,
                            kWidth,
                            {}},
              tiles.size());
        }
      }
      for_each_tile(g, tiles, [&](std::int64_t t, const TilePosition& at) {
        transform_products(out, products + t * layout.out_channels, layout, g, at, epilogue);
      });
    });
  });
}

FilterView filter_view(const Conv2dShape& s) {
  return {.outputs = s.k,
          .inputs = s.c,
          .output_stride = 9 * s.c,
          .input_stride = 1,
          .tap_stride = s.c};
}

Geometry forward_geometry(const Conv2dShape& s) {
  return {s.n, s.h, s.w, s.c, s.pad_h, s.pad_w, s.p, s.q, s.k};
}

}  // namespace

template <typename T>
void winograd_forward(T* y, const T* x, const T* w, const Conv2dShape& s,
                      const Conv2dEpilogue<T>& epilogue) {
  correlate(y, x, w, forward_geometry(s), filter_view(s), epilogue);
}

template <typename T>
void winograd_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& s,
                             const Conv2dEpilogue<T>& epilogue) {
  const Geometry g{s.n, s.p, s.q, s.k, 2 - s.pad_h, 2 - s.pad_w, s.h, s.w, s.c};
  const FilterView view{.outputs = s.c,
                        .inputs = s.k,
                        .output_stride = 1,
                        .input_stride = 9 * s.c,
                        .tap_stride = s.c,
                        .turned = true};
  correlate(dx, dy, w, g, view, epilogue);
}

template <typename T>
void winograd_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& s,
                              bool accumulate) {
  with_vectors<T>(s.k, [&]<int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    constexpr std::int64_t kSliceTiles = 128;  // fewer are not worth adding up a filter for
    constexpr std::int64_t kMaxPartialBytes = 32 << 20;
    const Geometry g = forward_geometry(s);
    const std::int64_t width_blocks = ceil_div(s.k, kWidth);
    const std::int64_t du_size = kFrequencies * width_blocks * kWidth * s.c;
    const std::int64_t affordable =
        1 + kMaxPartialBytes / (du_size * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t slices =
        std::clamp<std::int64_t>(g.tiles() / kSliceTiles, 1, std::min(affordable, kMaxWorkers));
    const BlockLayout layout{std::min(tiles_per_weight_block(g), g.tiles()), s.c,
                             width_blocks * kWidth};
    const Workspace<T> du(slices * du_size);
    const Workspace<T> scratch(slices * layout.size());
    parallel_for_workers(slices, slices, [&](std::int64_t slice, std::int64_t worker) {
      T* sums = du.data() + slice * du_size;
      T* patches = scratch.data() + worker * layout.size();
      T* gradients = patches + layout.in_size();
      // Where the outputs do not fill the vectors, the rest is multiplied too, as zeros.
      std::fill_n(gradients, kFrequencies * layout.out_frequency(), T(0));
      const Range range = piece(g.tiles(), slices, slice);
      for (std::int64_t first = range.first; first < range.last; first += layout.tiles) {
        const std::int64_t count = std::min(layout.tiles, range.last - first);
        for_each_tile(g, {first, first + count}, [&](std::int64_t t, const TilePosition& at) {
          transform_patches(patches + t * kBlock, layout, x, g, at);
          transform_gradients(gradients + t * layout.out_channels, layout, dy, g, at);
        });
        for (int f = 0; f < kFrequencies; ++f) {
          for (std::int64_t k = 0; k < width_blocks; ++k) {
            T* block = sums + (f * width_blocks + k) * s.c * kWidth;
            for (std::int64_t c = 0; c < s.c; c += kBlock) {
              multiply_weight_rows<kBlock, kVectors>(
                  block + c * kWidth, kBlock,
                  patches + c / kBlock * layout.in_block() + f * layout.in_frequency(), 0,
                  gradients + f * layout.out_frequency() + k * kWidth, 0, layout.out_channels, 1,
                  count, first == range.first);
            }
          }
        }
      }
    });
    gather_filter_gradient<kVectors>(dw, du.data(), slices, du_size, filter_view(s), accumulate);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                       \
  template void winograd_forward(T*, const T*, const T*, const Conv2dShape&,        \
                                 const Conv2dEpilogue<T>&);                         \
  template void winograd_backward_input(T*, const T*, const T*, const Conv2dShape&, \
                                        const Conv2dEpilogue<T>&);                  \
  template void winograd_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
