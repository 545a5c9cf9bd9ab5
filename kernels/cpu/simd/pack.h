#pragma once

#include <algorithm>

#include "attune/kernels/cpu/simd/tile.h"
#include "attune/kernels/cpu/simd/transpose.h"

// Copies of what tiles read, in the order in which they read it.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// kBlock channels of a pixel.
template <typename T>
ATTUNE_INLINE void copy_block(T* to, const T* from) {
  unroll<kBlock / kLanes<T>>(
      [&](auto v) ATTUNE_INLINE_LAMBDA { store(to + v * kLanes<T>, load(from + v * kLanes<T>)); });
}

/// `count` pixels of `channels` each, `from_stride` elements apart, to `to_stride` elements apart.
template <typename T>
void copy_pixels(T* to, std::int64_t to_stride, const T* from, std::int64_t from_stride,
                 std::int64_t channels, std::int64_t count) {
  if (to_stride == channels && from_stride == channels) {
    std::memcpy(to, from, static_cast<std::size_t>(count * channels) * sizeof(T));
  } else if (channels == kBlock) {
    for (std::int64_t i = 0; i < count; ++i) {
      copy_block(to + i * to_stride, from + i * from_stride);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t c = 0; c < channels; ++c) to[i * to_stride + c] = from[i * from_stride + c];
    }
  }
}

/// Packs what the lattice rows [first, first + rows) of an image see (conv2d_plan.h). `image`
/// points to the first pixel's first channel of the group. The source is read in the order in which
/// it lies in memory, which is further away than what is written.
template <typename T>
void pack_band(T* packed, const T* image, const Conv2dPlan& plan, std::int64_t first,
               std::int64_t rows) {
  for (std::int64_t i = 0; i < plan.packed_rows(rows); ++i) {
    const std::int64_t h = plan.top + (first * plan.lattice_row_step + i) * plan.packed_row_step;
    T* const to = packed + i * plan.row_size();
    const auto clear_columns = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = 0; b < plan.blocks; ++b) {
        std::fill_n(to + b * plan.block_size() + begin * plan.block, (end - begin) * plan.block,
                    T(0));
      }
    };
    if (h < 0 || h >= plan.height) {
      clear_columns(0, plan.columns);
      continue;
    }
    // Column j holds source column left + j * step; those in [begin, end) exist.
    const std::int64_t width = plan.width - (h == plan.height - 1 ? plan.missing_columns : 0);
    const std::int64_t step = plan.packed_column_step, left = plan.left;
    const std::int64_t begin = std::clamp<std::int64_t>((step - 1 - left) / step, 0, plan.columns);
    const std::int64_t end =
        std::clamp<std::int64_t>((width - left + step - 1) / step, begin, plan.columns);
    clear_columns(0, begin);
    clear_columns(end, plan.columns);
    const T* from = image + (h * plan.width + left + begin * step) * plan.pixel_stride;
    const std::int64_t from_stride = step * plan.pixel_stride;
    if (plan.blocks == 1) {
      copy_pixels(to + begin * plan.block, plan.block, from, from_stride, plan.channels,
                  end - begin);
      continue;
    }
    const std::int64_t whole = plan.channels / kBlock;
    for (std::int64_t j = begin; j < end; ++j, from += from_stride) {
      T* const pixel = to + j * plan.block;
      for (std::int64_t b = 0; b < whole; ++b) {
        copy_block(pixel + b * plan.block_size(), from + b * kBlock);
      }
      std::copy(from + whole * kBlock, from + plan.channels, pixel + whole * plan.block_size());
    }
  }
}

/// How a filter [K, R, S, C / groups] looks from one of its sides: the elements between
/// neighbouring outputs, inputs, taps and groups of the correlation that is made of it.
struct FilterStrides {
  std::int64_t output = 0, input = 0, tap = 0, group = 0;
};

/// With outputs and inputs in their places; backward-input sees them exchanged.
inline FilterStrides filter_strides(const Conv2dShape& shape) {
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filter = shape.r * shape.s * channels;
  return {
      .output = filter, .input = 1, .tap = channels, .group = shape.filters_per_group() * filter};
}

/// Calls visit(step, offset) for each block of inputs of each tap of a lattice, in the order of the
/// lattice's runs: `count` inputs make as many steps from `step` on, and their elements for output
/// 0 begin at `offset` in the filter.
template <typename Visit>
ATTUNE_INLINE void for_each_step_block(const Conv2dPlan& plan, const Lattice& lattice,
                                       const FilterStrides& strides, const Visit& visit) {
  std::int64_t step = 0;
  for (std::int64_t b = 0; b < plan.blocks; ++b) {
    const std::int64_t count = std::min(plan.block, plan.channels - b * plan.block);
    for (std::size_t t = 0; t < lattice.taps.size(); ++t, step += count) {
      visit(step, count, lattice.taps[t] * strides.tap + b * plan.block * strides.input);
    }
  }
}

/// Packs the outputs [first, first + live) of a filter as rows [step][width], zeros for the outputs
/// from `live` to `width`.
template <typename T>
void pack_filter(T* packed, const T* w, const Conv2dPlan& plan, const Lattice& lattice,
                 const FilterStrides& strides, std::int64_t first, std::int64_t live,
                 std::int64_t width) {
  for_each_step_block(plan, lattice, strides,
                      [&](std::int64_t step, std::int64_t count, std::int64_t offset) {
                        T* to = packed + step * width;
                        const T* from = w + offset + first * strides.output;
                        if (live < width) std::fill_n(to, count * width, T(0));
                        if (strides.output == 1) {
                          for (std::int64_t c = 0; c < count; ++c) {
                            std::copy_n(from + c * strides.input, live, to + c * width);
                          }
                          return;
                        }
                        transpose_rows(to, width, from, strides.output, live, count);
                      });
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
