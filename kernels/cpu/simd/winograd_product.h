#pragma once

#include "attune/kernels/cpu/simd/tile.h"
#include "attune/kernels/cpu/simd/winograd_filter.h"

// What happens between the transforms of Winograd's algorithm: at each frequency, a product of
// matrices, made of the steps of the direct convolution's tiles.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// A block of tiles in the frequency domain. The side that is broadcast is
/// [block of channels][frequency][tile][channel in block], as the steps read runs of channels; the
/// side that is loaded as vectors is [frequency][block of outputs][tile][output in block].
struct BlockLayout {
  std::int64_t tiles = 0, channels = 0;
  std::int64_t out_blocks = 0, width = 0;  ///< blocks of outputs, and outputs in each

  // A frequency is a bit longer than its content: if it were a multiple of 4 KB, all 36 that a
  // transform writes one after the other would fall into the same few sets of the L1 cache.
  static constexpr std::int64_t kGap = 16;

  std::int64_t in_frequency() const { return tiles * kBlock + kGap; }
  std::int64_t in_block() const { return kFrequencies * in_frequency(); }
  std::int64_t in_size() const { return channels / kBlock * in_block(); }
  std::int64_t out_block() const { return tiles * width; }
  std::int64_t out_frequency() const { return out_blocks * out_block() + kGap; }
  std::int64_t out_size() const { return kFrequencies * out_frequency(); }

  /// Where tile 0 has output `k`, and channel `c`.
  std::int64_t output(std::int64_t k) const { return k / width * out_block() + k % width; }
  std::int64_t channel(std::int64_t c) const { return c / kBlock * in_block() + c % kBlock; }

  /// Whether the products of a tile fit exactly where its channels were, so that they can take
  /// their place: what is half as large stays in the L1 cache.
  bool in_place() const { return channels == kBlock && width == kBlock && out_blocks == 1; }
};

/// The products of kTiles tiles at a time with one block of a filter [channels][width], from tile
/// `first` on, until fewer are left; returns the first that is.
template <int kTiles, int kVectors, typename T>
[[gnu::noinline]] std::int64_t multiply_frequency_tiles(T* products, const T* patches,
                                                        const T* filter, const BlockLayout& layout,
                                                        std::int64_t first, std::int64_t tiles) {
  constexpr int kWidth = kVectors * kLanes<T>;
  const std::int64_t channel_blocks = layout.channels / kBlock, in_block = layout.in_block();
  for (; first + kTiles <= tiles; first += kTiles) {
    Vector<T> sum[kTiles][kVectors];
    clear(sum);
    const T* in = patches + first * kBlock;
    const T* w = filter;
    for (std::int64_t b = 0; b < channel_blocks; ++b, in += in_block, w += kBlock * kWidth) {
      multiply_steps(sum, in, kBlock, w, kBlock);
    }
    store_tile(products + first * kWidth, sum);
  }
  return first;
}

/// The same for all of a frequency's tiles.
template <int kVectors, typename T>
void multiply_frequency(T* products, const T* patches, const T* filter, const BlockLayout& layout,
                        std::int64_t tiles) {
  for_each_tile_size<kVectors>(tiles, [&]<int kTiles>(std::int64_t first) {
    return multiply_frequency_tiles<kTiles, kVectors>(products, patches, filter, layout, first,
                                                      tiles);
  });
}

/// sums[channel][output] += sum over tiles of patches[tile][channel] * gradients[tile][output], for
/// one block of outputs at one frequency. If `fresh`, `sums` holds nothing yet and is overwritten.
template <int kVectors, typename T>
[[gnu::noinline]] void add_frequency_products(T* sums, const T* patches, const T* gradients,
                                              const BlockLayout& layout, std::int64_t channels,
                                              std::int64_t tiles, bool fresh) {
  constexpr int kWidth = kVectors * kLanes<T>;
  constexpr int kParts = (kBlock + kMaxInputs<kVectors> - 1) / kMaxInputs<kVectors>;
  for (std::int64_t c = 0; c < channels; c += kBlock) {
    unroll<kParts>([&](auto part) ATTUNE_INLINE_LAMBDA {
      constexpr int kFirst = kBlock * part / kParts, kLast = kBlock * (part + 1) / kParts;
      T* const to = sums + kFirst * kWidth;
      Vector<T> sum[kLast - kFirst][kVectors];
      fresh ? clear(sum) : load_tile(sum, to);
      multiply_weight_steps(sum, patches + kFirst, kBlock, gradients, kWidth, tiles);
      store_tile(to, sum);
    });
    sums += kBlock * kWidth;
    patches += layout.in_block();
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
