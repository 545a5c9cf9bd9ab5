#pragma once

#include <algorithm>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/winograd_tiles.h"
#include "attune/kernels/memory.h"

// Winograd's algorithm for few tiles and a large filter, as in the last layers of a network. The
// filter in the frequency domain is then larger than all tiles, and than the caches; streamed for
// each block of tiles, it would take longer than the arithmetic. So all tiles are transformed at
// once, and the filter, or its gradient, is made block of outputs by block of outputs: its
// frequencies never leave the cache.
namespace attune::kernels::cpu::ATTUNE_ISA {

inline bool is_filter_large(const Geometry& g) {
  return g.tiles() <= 128 && g.channels * g.out_channels >= 256 * 256;
}

/// The patches of all tiles.
template <typename T>
void transform_all_patches(T* patches, const T* source, const Geometry& g,
                           const BlockLayout& layout) {
  const ZeroRow<T> zeros(g);
  parallel_for(g.tiles(), [&](std::int64_t t) {
    transform_patches(patches + t * kBlock, layout,
                      patch_at(source, g, position(g, t), zeros.data()));
  });
}

/// out = epilogue(correlation of source with w).
template <int kVectors, typename T>
void correlate_by_outputs(T* out, const T* source, const T* w, const Geometry& g,
                          const FilterView& view, const Conv2dEpilogue<T>& epilogue) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const BlockLayout layout{g.tiles(), g.channels, 1, kWidth};
  const Workspace<T> patches(layout.in_size());
  transform_all_patches(patches.data(), source, g, layout);
  const std::int64_t blocks = ceil_div(g.out_channels, kWidth);
  const std::int64_t workers = std::min(blocks, kMaxWorkers);
  const std::int64_t u_frequency = g.channels * kWidth + BlockLayout::kGap;
  const std::int64_t u_size = kFrequencies * u_frequency;
  const Workspace<T> scratch(workers * (u_size + layout.out_size()));
  parallel_for_workers(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
    T* u = scratch.data() + worker * (u_size + layout.out_size());
    T* products = u + u_size;
    for (std::int64_t c = 0; c < g.channels; c += kBlock) {
      transform_filter_block<kVectors>(u + c * kWidth, u_frequency, w, view, block * kWidth, c);
    }
    for (int f = 0; f < kFrequencies; ++f) {
      multiply_frequency<kVectors>(products + f * layout.out_frequency(),
                                   patches.data() + f * layout.in_frequency(), u + f * u_frequency,
                                   layout, g.tiles());
    }
    for_each_tile(g, {0, g.tiles()}, [&](std::int64_t t, const TilePosition& at) {
      transform_products(out, epilogue, extent_of(g, at), products + t * kWidth, layout,
                         block * kWidth);
    });
  });
}

/// dw (+)= the gradient of the filter. Of a block of outputs, kBlock channels at a time.
template <int kVectors, typename T>
void filter_gradient_by_outputs(T* dw, const T* x, const T* dy, const Geometry& g,
                                const FilterView& view, bool accumulate, double* dy_sums) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const BlockLayout layout{g.tiles(), g.channels, 1, kWidth};
  const Workspace<T> patches(layout.in_size());
  transform_all_patches(patches.data(), x, g, layout);
  BiasSums bias(dy_sums, 1, g.out_channels);
  const std::int64_t blocks = ceil_div(g.out_channels, kWidth);
  const std::int64_t workers = std::min(blocks, kMaxWorkers);
  const std::int64_t frequency = kBlock * kWidth + BlockLayout::kGap;
  const std::int64_t scratch_size = layout.out_size() + kFrequencies * frequency;
  const Workspace<T> scratch(workers * scratch_size);
  parallel_for_workers(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
    T* const gradients = scratch.data() + worker * scratch_size;
    T* const sums = gradients + layout.out_size();
    const Range outputs{block * kWidth, std::min((block + 1) * kWidth, g.out_channels)};
    if (outputs.size() < kWidth) std::fill_n(gradients, layout.out_size(), T(0));
    for_each_tile(g, {0, g.tiles()}, [&](std::int64_t t, const TilePosition& at) {
      TileExtent tile = extent_of(g, at);
      tile.first += outputs.first;
      transform_gradients(gradients + t * kWidth, layout, dy, tile, {0, outputs.size()});
    });
    bias.add(0, outputs.first, outputs.size(), gradients + (kPatch + 1) * layout.out_frequency(),
             kWidth, g.tiles());
    for (std::int64_t c = 0; c < g.channels; c += kBlock) {
      for (int f = 0; f < kFrequencies; ++f) {
        add_frequency_products<kVectors>(
            sums + f * frequency, patches.data() + layout.channel(c) + f * layout.in_frequency(),
            gradients + f * layout.out_frequency(), layout, kBlock, g.tiles(), true);
      }
      gather_filter_block<kVectors>(dw, sums, frequency, 1, 0, view, outputs.first, c, accumulate);
    }
  });
  bias.finish();
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
