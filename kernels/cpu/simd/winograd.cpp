#include "attune/kernels/cpu/simd/winograd.h"

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/winograd_product.h"
#include "attune/kernels/memory.h"

// A pass takes blocks of tiles of 4x4 outputs. Each tile's 6x6 inputs are transformed into 36
// frequencies; at each frequency the tiles of a block, [tiles, channels], are multiplied with the
// transformed filter, [channels, outputs], by the micro-kernel of the direct convolution; and the
// products are transformed back. One thread does all of that for its block, so the frequencies
// never leave its cache.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

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

/// The 6x6 pixels under a tile: where column 0 of each row is, pixels `stride` elements apart. Of
/// the columns, those in `columns` exist; a row that does not is a row of zeros.
template <typename T>
struct Patch {
  const T* rows[kPatch];
  std::int64_t stride = 0;
  Range columns;
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
  if (e.norm) {
    for_each([&](auto& v, auto i, auto c) ATTUNE_INLINE_LAMBDA { v = apply_epilogue(e, v, i, c); });
  } else {
    apply_epilogue_to_all(e, for_each);
  }
  for_each([&](auto& v, auto i, auto) ATTUNE_INLINE_LAMBDA { store(out + i, v); });
}

/// The products of one tile, for all channels.
template <typename T>
void transform_products(T* y, const Conv2dEpilogue<T>& epilogue, const TileExtent& tile,
                        const T* products, const BlockLayout& layout) {
  const auto transform = tile.whole() ? transform_product<true, T> : transform_product<false, T>;
  for (std::int64_t k = 0; k < tile.pixel; k += kLanes<T>) {
    transform(y, epilogue, tile, k, products + layout.output(k), layout.out_frequency());
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

/// The gradients of one tile, for all channels.
template <typename T>
void transform_gradients(T* to, const BlockLayout& layout, const T* dy, const TileExtent& tile) {
  for (std::int64_t k = 0; k < tile.pixel; k += kLanes<T>) {
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

/// Fetches what the transforms will want of memory, in small portions while the products leave it
/// idle: where a block of tiles will be written, what its epilogue reads, the next block's source.
template <typename T>
class Prefetcher {
 public:
  Prefetcher(const T* out, const T* source, const Geometry& g, const Conv2dEpilogue<T>& epilogue,
             Range tiles)
      : out_(out),
        source_(source),
        g_(g),
        epilogue_(epilogue),
        tiles_(tiles.size()),
        at_(position(g, tiles.first)),
        next_(position(g, tiles.last)) {}

  /// Gets as far with the tiles as the products are with the frequencies.
  ATTUNE_INLINE void fetch(int frequencies) {
    for (; done_ * kFrequencies < tiles_ * frequencies; ++done_) {
      prefetch_tile<true>(out_, g_.out_height, g_.out_width, g_.out_channels, at_);
      if (epilogue_.norm.y) {
        prefetch_tile<true>(epilogue_.norm.y, g_.out_height, g_.out_width, g_.out_channels, at_);
      }
      for (const T* read : {epilogue_.residual, epilogue_.mask}) {
        if (read) prefetch_tile<false>(read, g_.out_height, g_.out_width, g_.out_channels, at_);
      }
      if (next_.image < g_.images) {
        prefetch_tile<false>(source_, g_.height, g_.width, g_.channels, next_);
      }
      advance(g_, at_);
      advance(g_, next_);
    }
  }

 private:
  const T* out_;
  const T* source_;
  const Geometry& g_;
  const Conv2dEpilogue<T>& epilogue_;
  std::int64_t tiles_, done_ = 0;
  TilePosition at_, next_;
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
    const BlockLayout layout{std::min(tiles_per_block(g), g.tiles()), g.channels, width_blocks,
                             kWidth};
    const Workspace<T> zeros(kPatch * g.channels);
    std::fill_n(zeros.data(), kPatch * g.channels, T(0));
    const std::int64_t products_at = layout.in_place() ? 0 : layout.in_size();
    const std::int64_t scratch_size = products_at + layout.out_size();
    const std::int64_t workers = std::min(blocks, kMaxWorkers);
    const Workspace<T> scratch(workers * scratch_size);
    parallel_for_workers(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
      T* patches = scratch.data() + worker * scratch_size;
      T* products = patches + products_at;
      const Range tiles{block * layout.tiles, std::min(g.tiles(), (block + 1) * layout.tiles)};
      for_each_tile(g, tiles, [&](std::int64_t t, const TilePosition& at) {
        transform_patches(patches + t * kBlock, layout, patch_at(source, g, at, zeros.data()));
      });
      Prefetcher prefetcher(out, source, g, epilogue, tiles);
      for (int f = 0; f < kFrequencies; ++f) {
        prefetcher.fetch(f + 1);
        for (std::int64_t k = 0; k < width_blocks; ++k) {
          multiply_frequency<kVectors>(
              products + f * layout.out_frequency() + k * layout.out_block(),
              patches + f * layout.in_frequency(),
              u.data() + (f * width_blocks + k) * g.channels * kWidth, layout, tiles.size());
        }
      }
      for_each_tile(g, tiles, [&](std::int64_t t, const TilePosition& at) {
        transform_products(out, epilogue, extent_of(g, at), products + t * kWidth, layout);
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
void winograd_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& s, bool accumulate,
                              double* dy_sums) {
  with_vectors<T>(s.k, [&]<int kVectors>() {
    constexpr std::int64_t kWidth = kVectors * kLanes<T>;
    constexpr std::int64_t kSliceTiles = 128;  // fewer are not worth adding up a filter for
    const Geometry g = forward_geometry(s);
    const std::int64_t width_blocks = ceil_div(s.k, kWidth);
    const std::int64_t du_size = kFrequencies * width_blocks * kWidth * s.c;
    const std::int64_t affordable =
        1 + kMaxPartialBytes / (du_size * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t slices =
        std::clamp<std::int64_t>(g.tiles() / kSliceTiles, 1, std::min(affordable, kMaxWorkers));
    const BlockLayout layout{std::min(tiles_per_weight_block(g), g.tiles()), s.c, width_blocks,
                             kWidth};
    const Workspace<T> zeros(kPatch * g.channels);
    std::fill_n(zeros.data(), kPatch * g.channels, T(0));
    const Workspace<T> du(slices * du_size);
    BiasSums bias(dy_sums, slices, s.k);
    const std::int64_t scratch_size = layout.in_size() + layout.out_size();
    const Workspace<T> scratch(slices * scratch_size);
    parallel_for_workers(slices, slices, [&](std::int64_t slice, std::int64_t worker) {
      T* sums = du.data() + slice * du_size;
      T* patches = scratch.data() + worker * scratch_size;
      T* gradients = patches + layout.in_size();
      // Where the outputs do not fill the vectors, the rest is multiplied too, as zeros.
      std::fill_n(gradients, layout.out_size(), T(0));
      const Range range = piece(g.tiles(), slices, slice);
      for (std::int64_t first = range.first; first < range.last; first += layout.tiles) {
        const std::int64_t count = std::min(layout.tiles, range.last - first);
        for_each_tile(g, {first, first + count}, [&](std::int64_t t, const TilePosition& at) {
          transform_patches(patches + t * kBlock, layout, patch_at(x, g, at, zeros.data()));
          transform_gradients(gradients + t * kWidth, layout, dy, extent_of(g, at));
        });
        // The row of A for the point 1 is all ones: at the frequency (1, 1) is the sum of a tile.
        for (std::int64_t k = 0; k < s.k; k += kWidth) {
          bias.add(slice, k, std::min(kWidth, s.k - k),
                   gradients + (kPatch + 1) * layout.out_frequency() + layout.output(k), kWidth,
                   count);
        }
        for (int f = 0; f < kFrequencies; ++f) {
          for (std::int64_t k = 0; k < width_blocks; ++k) {
            T* block = sums + (f * width_blocks + k) * s.c * kWidth;
            for (std::int64_t c = 0; c < s.c; c += kBlock) {
              multiply_weight_rows<kBlock, kVectors>(
                  block + c * kWidth, kBlock,
                  patches + c / kBlock * layout.in_block() + f * layout.in_frequency(), 0,
                  gradients + f * layout.out_frequency() + k * layout.out_block(), 0, kWidth, 1,
                  count, first == range.first);
            }
          }
        }
      }
    });
    bias.finish();
    gather_filter_gradient<kVectors>(dw, du.data(), slices, du_size, filter_view(s), accumulate);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                       \
  template void winograd_forward(T*, const T*, const T*, const Conv2dShape&,        \
                                 const Conv2dEpilogue<T>&);                         \
  template void winograd_backward_input(T*, const T*, const T*, const Conv2dShape&, \
                                        const Conv2dEpilogue<T>&);                  \
  template void winograd_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool, double*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
