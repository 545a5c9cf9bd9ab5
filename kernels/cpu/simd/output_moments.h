#pragma once

#include <algorithm>

#include "attune/kernels/cpu/simd/winograd_tiles.h"
#include "attune/kernels/memory.h"

// Mean and variance of a convolution's output, taken of each block of tiles while it is in the L1
// cache: batch normalisation need not read it all once more.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// Moments of blocks of pixels, for each channel. Does nothing if nobody wants statistics.
template <typename T>
class OutputMoments {
 public:
  OutputMoments(const Conv2dStatistics<T>& statistics, std::int64_t blocks, std::int64_t channels)
      : statistics_(statistics),
        blocks_(statistics ? blocks : 0),
        channels_(channels),
        means_(blocks_ * channels),
        squares_(blocks_ * channels),
        counts_(blocks_) {}

  /// Takes the moments of the pixels of `tiles`, block number `block`. In two sweeps, the second
  /// over deviations from the mean of the first: |mean| >> sigma then costs no digits.
  void take(std::int64_t block, const T* y, const Geometry& g, Range tiles) const {
    if (blocks_ == 0) return;
    double* means = means_.data() + block * channels_;
    double* squares = squares_.data() + block * channels_;
    double& count = counts_.data()[block];
    for (std::int64_t c = 0; c < channels_; c += kLanes<T>) {
      Vector<T> sum{};
      count = 0;
      for_each_pixel(g, tiles, [&](std::int64_t at) ATTUNE_INLINE_LAMBDA {
        sum += load(y + at + c);
        ++count;
      });
      const Vector<T> center = sum / static_cast<T>(count);
      Vector<T> deviations{}, products{};
      for_each_pixel(g, tiles, [&](std::int64_t at) ATTUNE_INLINE_LAMBDA {
        const Vector<T> deviation = load(y + at + c) - center;
        deviations += deviation;
        products += deviation * deviation;
      });
      for (int lane = 0; lane < kLanes<T>; ++lane) {
        const double shift = double{deviations[lane]} / count;  // what rounding left of the mean
        means[c + lane] = double{center[lane]} + shift;
        squares[c + lane] = std::max(double{products[lane]} - shift * shift * count, 0.0);
      }
    }
  }

  /// Mean and biased variance of all blocks together.
  void finish() const {
    if (blocks_ == 0) return;
    double pixels = 0;
    for (std::int64_t b = 0; b < blocks_; ++b) pixels += counts_.data()[b];
    const Workspace<double> mean(channels_), square(channels_);
    std::fill_n(mean.data(), channels_, 0.0);
    std::fill_n(square.data(), channels_, 0.0);
    for_each_block([&](double count, double block_mean, double, std::int64_t c) {
      mean.data()[c] += block_mean * (count / pixels);
    });
    for_each_block([&](double count, double block_mean, double squares, std::int64_t c) {
      const double delta = block_mean - mean.data()[c];
      square.data()[c] += squares + delta * delta * count;
    });
    for (std::int64_t c = 0; c < channels_; ++c) {
      statistics_.mean[c] = static_cast<T>(mean.data()[c]);
      statistics_.var[c] = static_cast<T>(square.data()[c] / pixels);
    }
  }

 private:
  template <typename Visit>
  ATTUNE_INLINE static void for_each_pixel(const Geometry& g, Range tiles, const Visit& visit) {
    for_each_tile(g, tiles, [&](std::int64_t, const TilePosition& position) ATTUNE_INLINE_LAMBDA {
      const TileExtent tile = extent_of(g, position);
      for (std::int64_t i = 0; i < tile.rows; ++i) {
        for (std::int64_t j = 0; j < tile.columns; ++j) {
          visit(tile.first + i * tile.row + j * tile.pixel);
        }
      }
    });
  }

  template <typename Visit>
  void for_each_block(const Visit& visit) const {
    for (std::int64_t b = 0; b < blocks_; ++b) {
      for (std::int64_t c = 0; c < channels_; ++c) {
        const std::int64_t i = b * channels_ + c;
        visit(counts_.data()[b], means_.data()[i], squares_.data()[i], c);
      }
    }
  }

  Conv2dStatistics<T> statistics_;
  std::int64_t blocks_, channels_;
  Workspace<double> means_, squares_, counts_;
};

}  // namespace attune::kernels::cpu::ATTUNE_ISA
