#pragma once

#include <algorithm>

#include "attune/kernels/cpu/conv2d_plan.h"
#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/transpose.h"
#include "attune/kernels/cpu/simd/winograd_transform.h"

// Filters in the frequency domain of Winograd's algorithm, packed as the micro-kernel reads them:
// [frequency][block of outputs][channel][output in block].
namespace attune::kernels::cpu::ATTUNE_ISA {

/// Tells how a 3x3 filter [K, 3, 3, C] is read: with outputs and inputs in their places (forward),
/// or exchanged and turned by 180 degrees (backward-input).
struct FilterView {
  std::int64_t outputs = 0, inputs = 0;
  std::int64_t output_stride = 0, input_stride = 0, tap_stride = 0;
  bool turned = false;

  std::int64_t tap(std::int64_t t) const { return (turned ? 8 - t : t) * tap_stride; }
};

/// u = G g G^T for outputs [k, k + width) and inputs [c, c + kBlock): `u` is where the first of
/// these inputs is, `frequency` elements before its next frequency.
template <int kVectors, typename T>
void transform_filter_block(T* u, std::int64_t frequency, const T* w, const FilterView& view,
                            std::int64_t k, std::int64_t c) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  alignas(kVectorBytes) T taps[9 * kBlock * kWidth];
  const std::int64_t live = std::min(kWidth, view.outputs - k);
  if (live < kWidth) std::fill_n(taps, 9 * kBlock * kWidth, T(0));
  for (std::int64_t t = 0; t < 9; ++t) {
    const T* from = w + k * view.output_stride + view.tap(t) + c * view.input_stride;
    T* to = taps + t * kBlock * kWidth;
    if (view.input_stride == 1) {
      transpose_rows(to, kWidth, from, view.output_stride, live, kBlock);
      continue;
    }
    for (std::int64_t i = 0; i < kBlock; ++i) {
      std::copy_n(from + i * view.input_stride, live, to + i * kWidth);
    }
  }
  for (std::int64_t lane = 0; lane < kBlock * kWidth; lane += kLanes<T>) {
    Vector<T> half[kPatch][3];
    unroll<3>([&](auto j) ATTUNE_INLINE_LAMBDA {
      Vector<T> g[3], column[kPatch];
      unroll<3>([&](auto i) ATTUNE_INLINE_LAMBDA {
        g[i] = load(taps + (i * 3 + j) * kBlock * kWidth + lane);
      });
      transform_filter(column, g);
      unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
    });
    store_frequencies(u + lane, frequency, half,
                      [](auto& out, const auto& in)
                          ATTUNE_INLINE_LAMBDA { transform_filter(out, in); });
  }
}

/// The same for all pairs of input and output: u [frequency][block of outputs][input][width],
/// frequencies `frequency` elements apart.
template <int kVectors, typename T>
void transform_filters(T* u, std::int64_t frequency, const T* w, const FilterView& view) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const std::int64_t blocks = ceil_div(view.outputs, kWidth);
  const std::int64_t channel_blocks = view.inputs / kBlock;
  parallel_for(blocks * channel_blocks, [&](std::int64_t task) {
    const std::int64_t k = task / channel_blocks, c = task % channel_blocks * kBlock;
    transform_filter_block<kVectors>(u + (k * view.inputs + c) * kWidth, frequency, w, view,
                                     k * kWidth, c);
  });
}

/// dw (+)= G^T (sum of the slices' du) G for outputs [k, k + width) and inputs [c, c + kBlock):
/// `du` is where the first of these inputs is, `frequency` elements before its next frequency and
/// `slice_size` before the next slice.
template <int kVectors, typename T>
void gather_filter_block(T* dw, const T* du, std::int64_t frequency, std::int64_t slices,
                         std::int64_t slice_size, const FilterView& view, std::int64_t k,
                         std::int64_t c, bool accumulate) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  alignas(kVectorBytes) T taps[9 * kBlock * kWidth];
  for (std::int64_t lane = 0; lane < kBlock * kWidth; lane += kLanes<T>) {
    Vector<T> half[3][kPatch];
    unroll<kPatch>([&](auto j) ATTUNE_INLINE_LAMBDA {
      Vector<T> u[kPatch], column[3];
      unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
        const T* from = du + (i * kPatch + j) * frequency + lane;
        u[i] = load(from);
        for (std::int64_t slice = 1; slice < slices; ++slice) {
          u[i] += load(from + slice * slice_size);
        }
      });
      transform_filter_gradient(column, u);
      unroll<3>([&](auto i) ATTUNE_INLINE_LAMBDA { half[i][j] = column[i]; });
    });
    unroll<3>([&](auto i) ATTUNE_INLINE_LAMBDA {
      Vector<T> row[3];
      transform_filter_gradient(row, half[i]);
      unroll<3>([&](auto j) ATTUNE_INLINE_LAMBDA {
        store(taps + (i * 3 + j) * kBlock * kWidth + lane, row[j]);
      });
    });
  }
  const std::int64_t live = std::min(kWidth, view.outputs - k);
  for (std::int64_t t = 0; t < 9; ++t) {
    transpose_rows(dw + k * view.output_stride + view.tap(t) + c, view.output_stride,
                   taps + t * kBlock * kWidth, kWidth, kBlock, live, accumulate);
  }
}

/// The same for all pairs of input and output: du [frequency][block of outputs][input][width].
template <int kVectors, typename T>
void gather_filter_gradient(T* dw, const T* du, std::int64_t slices, std::int64_t slice_size,
                            const FilterView& view, bool accumulate) {
  constexpr std::int64_t kWidth = kVectors * kLanes<T>;
  const std::int64_t blocks = ceil_div(view.outputs, kWidth);
  const std::int64_t channel_blocks = view.inputs / kBlock;
  parallel_for(blocks * channel_blocks, [&](std::int64_t task) {
    const std::int64_t k = task / channel_blocks, c = task % channel_blocks * kBlock;
    gather_filter_block<kVectors>(dw, du + (k * view.inputs + c) * kWidth,
                                  blocks * view.inputs * kWidth, slices, slice_size, view,
                                  k * kWidth, c, accumulate);
  });
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
