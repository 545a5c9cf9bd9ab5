#pragma once

#include <algorithm>

#include "attune/kernels/cpu/simd/vector.h"
#include "attune/kernels/memory.h"

// The gradient of a bias is the sum of dy over the pixels. Where the filter's gradient is computed,
// all of dy comes by anyway: it is added up while it is in the cache.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// Sums of dy [..., channels] in double, one row for each slice of the batch. Does nothing if
/// `total` is null, which says that nobody wants the sums.
class BiasSums {
 public:
  BiasSums(double* total, std::int64_t slices, std::int64_t channels)
      : total_(total), slices_(slices), channels_(channels), rows_(total ? slices * channels : 0) {
    if (total) std::fill_n(rows_.data(), slices * channels, 0.0);
  }

  /// Adds `count` pixels, `stride` elements apart, to channels [first, first + channels) of a
  /// slice; `x` is at the first pixel's first of them.
  template <typename T>
  void add(std::int64_t slice, std::int64_t first, std::int64_t channels, const T* x,
           std::int64_t stride, std::int64_t count) {
    if (!total_) return;
    constexpr std::int64_t kFew = 64;  // pixels whose sum has lost no digits yet in T
    double* sums = rows_.data() + slice * channels_ + first;
    for (; count > 0; count -= kFew, x += kFew * stride) {
      const std::int64_t few = std::min(count, kFew);
      std::int64_t c = 0;
      for (; c + kLanes<T> <= channels; c += kLanes<T>) {
        Vector<T> sum{};
        for (std::int64_t i = 0; i < few; ++i) sum += load(x + i * stride + c);
        for (int lane = 0; lane < kLanes<T>; ++lane) sums[c + lane] += double{sum[lane]};
      }
      for (; c < channels; ++c) {
        for (std::int64_t i = 0; i < few; ++i) sums[c] += double{x[i * stride + c]};
      }
    }
  }

  /// The total, slice after slice.
  void finish() const {
    if (!total_) return;
    for (std::int64_t c = 0; c < channels_; ++c) {
      double sum = 0;
      for (std::int64_t slice = 0; slice < slices_; ++slice) {
        sum += rows_.data()[slice * channels_ + c];
      }
      total_[c] = sum;
    }
  }

 private:
  double* total_;
  std::int64_t slices_, channels_;
  Workspace<double> rows_;
};

}  // namespace attune::kernels::cpu::ATTUNE_ISA
