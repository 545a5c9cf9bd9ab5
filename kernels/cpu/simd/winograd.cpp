#include "attune/kernels/cpu/simd/winograd.h"

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/pack.h"
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
constexpr int kBlock = 16;                // channels that the micro-kernel takes as one run

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
  const std::int64_t column = tile % g.tile_columns(), row = tile / g.tile_columns();
  return {row / g.tile_rows(), row % g.tile_rows() * kTile, column * kTile};
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

/// B^T d B of one tile, for all channels.
template <typename T>
void transform_patch(T* to, const BlockLayout& layout, const T* source, const Geometry& g,
                     TilePosition at) {
  const std::int64_t h = at.row - g.pad_h, w = at.column - g.pad_w;
  const bool inside = h >= 0 && w >= 0 && h + kPatch <= g.height && w + kPatch <= g.width;
  const T* first = source + ((at.image * g.height + h) * g.width + w) * g.channels;
  const auto transform = [&](const auto& pixel) __attribute__((always_inline)) {
    Vector<T> half[kPatch][kPatch];
    unroll<kPatch>([&](auto j) {
      Vector<T> d[kPatch], column[kPatch];
      unroll<kPatch>([&](auto i) { d[i] = pixel(i, j); });
      transform_input(column, d);
      unroll<kPatch>([&](auto i) { half[i][j] = column[i]; });
    });
    return [=](T * out) __attribute__((always_inline)) {
      unroll<kPatch>([&](auto i) {
        Vector<T> row[kPatch];
        transform_input(row, half[i]);
        unroll<kPatch>(
            [&](auto j) { store(out + (i * kPatch + j) * layout.in_frequency(), row[j]); });
      });
    };
  };
  for (std::int64_t c = 0; c < g.channels; c += kLanes<T>) {
    T* out = to + c / kBlock * layout.in_block() + c % kBlock;
    const T* from = first + c;
    if (inside) {
      transform([&](int i, int j) { return load(from + (i * g.width + j) * g.channels); })(out);
    } else {
      transform([&](int i, int j) {
        const bool exists = h + i >= 0 && h + i < g.height && w + j >= 0 && w + j < g.width;
        return exists ? load(from + (i * g.width + j) * g.channels) : Vector<T>{};
      })(out);
    }
  }
}

/// A^T m A of one tile, followed by the epilogue, for all channels.
template <typename T>
void transform_products(T* y, const T* products, const BlockLayout& layout, const Geometry& g,
                        TilePosition at, const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t rows = std::min<std::int64_t>(kTile, g.out_height - at.row);
  const std::int64_t columns = std::min<std::int64_t>(kTile, g.out_width - at.column);
  const std::int64_t first =
      ((at.image * g.out_height + at.row) * g.out_width + at.column) * g.out_channels;
  for (std::int64_t k = 0; k < g.out_channels; k += kLanes<T>) {
    Vector<T> half[kTile][kPatch];
    unroll<kPatch>([&](auto j) {
      Vector<T> m[kPatch], column[kTile];
      unroll<kPatch>(
          [&](auto i) { m[i] = load(products + (i * kPatch + j) * layout.out_frequency() + k); });
      transform_output(column, m);
      unroll<kTile>([&](auto i) { half[i][j] = column[i]; });
    });
    for (std::int64_t i = 0; i < rows; ++i) {
      Vector<T> row[kTile];
      transform_output(row, half[i]);
      for (std::int64_t j = 0; j < columns; ++j) {
        const std::int64_t element = first + (i * g.out_width + j) * g.out_channels + k;
        store(y + element,
              finish(row[j], epilogue, k, element, [](const T* from) { return load(from); }));
      }
    }
  }
}

/// A dy A^T of one tile, for all channels: the adjoint of transform_products.
template <typename T>
void transform_gradient(T* to, const BlockLayout& layout, const T* dy, const Geometry& g,
                        TilePosition at) {
  const T* first =
      dy + ((at.image * g.out_height + at.row) * g.out_width + at.column) * g.out_channels;
  for (std::int64_t k = 0; k < g.out_channels; k += kLanes<T>) {
    Vector<T> half[kPatch][kTile];
    unroll<kTile>([&](auto j) {
      Vector<T> d[kTile], column[kPatch];
      unroll<kTile>([&](auto i) {
        const bool exists = at.row + i < g.out_height && at.column + j < g.out_width;
        d[i] = exists ? load(first + (i * g.out_width + j) * g.out_channels + k) : Vector<T>{};
      });
      transform_output_gradient(column, d);
      unroll<kPatch>([&](auto i) { half[i][j] = column[i]; });
    });
    unroll<kPatch>([&](auto i) {
      Vector<T> row[kPatch];
      transform_output_gradient(row, half[i]);
      unroll<kPatch>(
          [&](auto j) { store(to + (i * kPatch + j) * layout.out_frequency() + k, row[j]); });
    });
  }
}

// ---- the filter: [frequency][block of outputs][channel][output in block] ----

/// Tells how a 3x3 filter [K, 3, 3, C] is read: with outputs and inputs in their places (forward),
/// or exchanged and turned by 180 degrees (backward-input).
struct FilterView {
  std::int64_t outputs = 0, inputs = 0;
  std::int64_t output_stride = 0, input_stride = 0, tap_stride = 0;
  bool turned = false;

  std::int64_t tap(std::int64_t t) const { return (turned ? 8 - t : t) * tap_stride; }
};

/// Calls visit(filter offset, buffer offset) for outputs [k, k + live) of inputs [c, c + kBlock),
/// the buffer being [tap][input][width].
template <typename Visit>
ATTUNE_INLINE void for_each_filter_element(const FilterView& view, std::int64_t k,
                                           std::int64_t live, std::int64_t width, std::int64_t c,
                                           const Visit& visit) {
  for (std::int64_t o = 0; o < live; ++o) {
    for (std::int64_t t = 0; t < 9; ++t) {
      for (std::int64_t i = 0; i < kBlock; ++i) {
        visit((k + o) * view.output_stride + view.tap(t) + (c + i) * view.input_stride,
              (t * kBlock + i) * width + o);
      }
    }
  }
}

/// u = G g G^T for all pairs of input and output.
template <int kVectors, typename T>
void transform_filters(T* u, const T* w, const FilterView& view) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const std::int64_t blocks = ceil_div(view.outputs, kWidth);
  const std::int64_t channel_blocks = view.inputs / kBlock;
  parallel_for(blocks * channel_blocks, [&](std::int64_t task) {
    const std::int64_t k = task / channel_blocks, c = task % channel_blocks * kBlock;
    T taps[9 * kBlock * kWidth] = {};
    for_each_filter_element(view, k * kWidth, std::min(kWidth, view.outputs - k * kWidth), kWidth,
                            c, [&](std::int64_t from, std::int64_t to) { taps[to] = w[from]; });
    for (std::int64_t lane = 0; lane < kBlock * kWidth; lane += kLanes<T>) {
      Vector<T> half[kPatch][3];
      unroll<3>([&](auto j) {
        Vector<T> g[3], column[kPatch];
        unroll<3>([&](auto i) { g[i] = load(taps + (i * 3 + j) * kBlock * kWidth + lane); });
        transform_filter(column, g);
        unroll<kPatch>([&](auto i) { half[i][j] = column[i]; });
      });
      unroll<kPatch>([&](auto i) {
        Vector<T> row[kPatch];
        transform_filter(row, half[i]);
        unroll<kPatch>([&](auto j) {
          store(u + (((i * kPatch + j) * blocks + k) * view.inputs + c) * kWidth + lane, row[j]);
        });
      });
    }
  });
}

/// dw (+)= G^T (sum of the slices' du) G, `slice_size` elements between slices.
template <int kVectors, typename T>
void gather_filter_gradient(T* dw, const T* du, std::int64_t slices, std::int64_t slice_size,
                            const FilterView& view, bool accumulate) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const std::int64_t blocks = ceil_div(view.outputs, kWidth);
  const std::int64_t channel_blocks = view.inputs / kBlock;
  parallel_for(blocks * channel_blocks, [&](std::int64_t task) {
    const std::int64_t k = task / channel_blocks, c = task % channel_blocks * kBlock;
    T taps[9 * kBlock * kWidth];
    for (std::int64_t lane = 0; lane < kBlock * kWidth; lane += kLanes<T>) {
      Vector<T> half[3][kPatch];
      unroll<kPatch>([&](auto j) {
        Vector<T> u[kPatch], column[3];
        unroll<kPatch>([&](auto i) {
          const T* from = du + (((i * kPatch + j) * blocks + k) * view.inputs + c) * kWidth + lane;
          u[i] = load(from);
          for (std::int64_t slice = 1; slice < slices; ++slice) {
            u[i] += load(from + slice * slice_size);
          }
        });
        transform_filter_gradient(column, u);
        unroll<3>([&](auto i) { half[i][j] = column[i]; });
      });
      unroll<3>([&](auto i) {
        Vector<T> row[3];
        transform_filter_gradient(row, half[i]);
        unroll<3>([&](auto j) { store(taps + (i * 3 + j) * kBlock * kWidth + lane, row[j]); });
      });
    }
    for_each_filter_element(view, k * kWidth, std::min(kWidth, view.outputs - k * kWidth), kWidth,
                            c, [&](std::int64_t to, std::int64_t from) {
                              dw[to] = accumulate ? dw[to] + taps[from] : taps[from];
                            });
  });
}

// ---- the passes ----

/// Tiles that a thread takes at a time: few enough for their frequencies to stay in the L2 cache,
/// enough to be worth streaming the transformed filter for, which is larger than the cache where
/// there are many channels.
std::int64_t tiles_per_block(const Geometry& g) {
  const std::int64_t pairs = g.channels * g.out_channels;
  return pairs <= 64 * 64 ? 16 : pairs <= 128 * 128 ? 32 : 64;
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
      for (std::int64_t t = tiles.first; t < tiles.last; ++t) {
        transform_patch(patches + (t - tiles.first) * kBlock, layout, source, g, position(g, t));
      }
      for (int f = 0; f < kFrequencies; ++f) {
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
      for (std::int64_t t = tiles.first; t < tiles.last; ++t) {
        transform_products(out, products + (t - tiles.first) * layout.out_channels, layout, g,
                           position(g, t), epilogue);
      }
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
    constexpr std::int64_t kSliceTiles = 64;  // fewer are not worth adding up a filter for
    constexpr std::int64_t kMaxPartialBytes = 32 << 20;
    const Geometry g = forward_geometry(s);
    const std::int64_t width_blocks = ceil_div(s.k, kWidth);
    const std::int64_t du_size = kFrequencies * width_blocks * kWidth * s.c;
    const std::int64_t affordable =
        1 + kMaxPartialBytes / (du_size * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t slices =
        std::clamp<std::int64_t>(g.tiles() / kSliceTiles, 1, std::min(affordable, kMaxWorkers));
    const BlockLayout layout{std::min(std::max<std::int64_t>(tiles_per_block(g), 32), g.tiles()),
                             s.c, width_blocks * kWidth};
    const Workspace<T> du(slices * du_size);
    const Workspace<T> scratch(slices * layout.size());
    parallel_for_workers(slices, slices, [&](std::int64_t slice, std::int64_t worker) {
      T* sums = du.data() + slice * du_size;
      std::fill_n(sums, du_size, T(0));
      T* patches = scratch.data() + worker * layout.size();
      T* gradients = patches + layout.in_size();
      // Where the outputs do not fill the vectors, the rest is multiplied too, as zeros.
      std::fill_n(gradients, kFrequencies * layout.out_frequency(), T(0));
      const Range range = piece(g.tiles(), slices, slice);
      for (std::int64_t first = range.first; first < range.last; first += layout.tiles) {
        const std::int64_t count = std::min(layout.tiles, range.last - first);
        for (std::int64_t t = 0; t < count; ++t) {
          transform_patch(patches + t * kBlock, layout, x, g, position(g, first + t));
          transform_gradient(gradients + t * layout.out_channels, layout, dy, g,
                             position(g, first + t));
        }
        for (int f = 0; f < kFrequencies; ++f) {
          for (std::int64_t k = 0; k < width_blocks; ++k) {
            T* block = sums + (f * width_blocks + k) * s.c * kWidth;
            for (std::int64_t c = 0; c < s.c; c += kBlock) {
              multiply_weight_rows<kBlock, kVectors>(
                  block + c * kWidth, kBlock,
                  patches + c / kBlock * layout.in_block() + f * layout.in_frequency(), 0,
                  gradients + f * layout.out_frequency() + k * kWidth, 0, layout.out_channels, 1,
                  count);
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
