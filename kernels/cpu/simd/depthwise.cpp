#include "attune/kernels/cpu/simd/depthwise.h"

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/pack.h"
#include "attune/kernels/memory.h"

// A depthwise convolution has no channels to sum over, so it is not a matrix product: vectors run
// along the channels of both operands, and each input is used once a tap. Packing (conv2d_plan.h)
// is the same, with all channels in one group.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

constexpr int kTilePixels = 8;

/// The geometry without its groups.
Conv2dShape ungrouped(const Conv2dShape& shape) {
  Conv2dShape all = shape;
  all.groups = 1;
  return all;
}

/// The filter [C, R, S] as [R * S][channels, a whole number of blocks], the rest being zero.
template <typename T>
void transpose_filter(T* taps, const T* w, const Conv2dShape& shape, std::int64_t stride) {
  const std::int64_t count = shape.r * shape.s;
  std::fill_n(taps, count * stride, T(0));
  for (std::int64_t c = 0; c < shape.c; ++c) {
    for (std::int64_t t = 0; t < count; ++t) taps[t * stride + c] = w[c * count + t];
  }
}

/// One row of a lattice, one vector of channels, `at` elements into `out`: sum over taps of x[pixel
/// + tap] * w[tap], pixels being `stride` elements apart.
template <typename T>
void multiply_row_by_channel(const T* x, std::int64_t stride, const T* w, std::int64_t w_stride,
                             const Lattice& lattice, const TileOutput<T>& out, std::int64_t at,
                             std::int64_t pixels) {
  const auto tile = [&]<int kPixels>(std::integral_constant<int, kPixels>) ATTUNE_INLINE_LAMBDA {
    Vector<T> sum[kPixels][1];
    clear(sum);
    for (std::size_t t = 0; t < lattice.taps.size(); ++t) {
      const Vector<T> weight = load(w + lattice.taps[t] * w_stride);
      const T* in = x + lattice.offsets[t];
      unroll<kPixels>([&](auto p)
                          ATTUNE_INLINE_LAMBDA { sum[p][0] += load(in + p * stride) * weight; });
    }
    finish_tile(sum, out, at);
    x += kPixels * stride;
    at += kPixels * out.pixel_stride;
  };
  for (; pixels >= kTilePixels; pixels -= kTilePixels) {
    tile(std::integral_constant<int, kTilePixels>{});
  }
  for (; pixels > 0; --pixels) tile(std::integral_constant<int, 1>{});
}

template <typename T>
void correlate(T* out, const T* source, const Filter<T>& w, const Conv2dPlan& plan,
               const Conv2dShape& shape, const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t stride = plan.blocks * kBlock;
  PreparedFilter<T> taps(w, shape.r * shape.s * stride);
  if (!taps.is_ready()) {
    transpose_filter(taps.data(), w.elements, shape, stride);
    taps.keep();
  }

  const std::int64_t units = plan.images * plan.bands;
  const std::int64_t workers = std::min(units, kMaxWorkers);
  const Workspace<T> scratch(workers * plan.band_size());
  parallel_for_workers(units, workers, [&](std::int64_t unit, std::int64_t worker) {
    const std::int64_t image = unit / plan.bands;
    const std::int64_t first = unit % plan.bands * plan.band_rows;
    T* packed = scratch.data() + worker * plan.band_size();
    pack_band(packed, source + image * plan.height * plan.width * plan.pixel_stride, plan, first,
              plan.band_rows);
    for (const Lattice& lattice : plan.lattices) {
      const std::int64_t end = std::min(first + plan.band_rows, lattice.rows);
      for (std::int64_t c = 0; c < plan.channels; c += kLanes<T>) {
        const TileOutput<T> block = TileOutput<T>{out, plan.out_column_step * plan.out_pixel_stride,
                                                  plan.channels, epilogue}
                                        .from_channel(c);
        for (std::int64_t row = first; row < end; ++row) {
          const std::int64_t pixel =
              (image * plan.out_height + lattice.row + row * plan.out_row_step) * plan.out_width +
              lattice.column;
          multiply_row_by_channel(packed + c / kBlock * plan.block_size() + c % kBlock +
                                      (row - first) * plan.lattice_row_size(),
                                  plan.lattice_column_size(), taps.data() + c, stride, lattice,
                                  block, pixel * plan.out_pixel_stride, lattice.columns);
        }
      }
    }
  });
}

}  // namespace

template <typename T>
void depthwise_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                       const Conv2dEpilogue<T>& epilogue) {
  correlate(y, x, w, conv2d_forward_plan(ungrouped(shape), {.element_size = sizeof(T)}), shape,
            epilogue);
}

template <typename T>
void depthwise_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                              const Conv2dEpilogue<T>& epilogue) {
  correlate(dx, dy, w, conv2d_backward_input_plan(ungrouped(shape), {.element_size = sizeof(T)}),
            shape, epilogue);
}

template <typename T>
void depthwise_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                               bool accumulate, double* dy_sums) {
  const Conv2dPlan& plan = conv2d_forward_plan(ungrouped(shape), {.element_size = sizeof(T)});
  const Lattice& lattice = plan.lattices.front();
  const std::int64_t taps = shape.r * shape.s, stride = plan.blocks * kBlock;
  const std::int64_t units = plan.images * plan.bands;
  const std::int64_t slices = std::min(units, kMaxWorkers);
  const Workspace<T> sums(slices * taps * stride);
  const Workspace<T> scratch(slices * plan.band_size());
  BiasSums bias(dy_sums, slices, shape.k);

  parallel_for_workers(slices, slices, [&](std::int64_t slice, std::int64_t worker) {
    T* slice_sums = sums.data() + slice * taps * stride;
    std::fill_n(slice_sums, taps * stride, T(0));
    T* packed = scratch.data() + worker * plan.band_size();
    const Range range = piece(units, slices, slice);
    for (std::int64_t unit = range.first; unit < range.last; ++unit) {
      const std::int64_t image = unit / plan.bands;
      const std::int64_t first = unit % plan.bands * plan.band_rows;
      const std::int64_t rows = std::min(plan.band_rows, plan.out_height - first);
      pack_band(packed, x + image * plan.height * plan.width * plan.pixel_stride, plan, first,
                rows);
      const T* dy_band = dy + (image * plan.out_height + first) * plan.out_width * shape.k;
      bias.add(slice, 0, shape.k, dy_band, shape.k, rows * plan.out_width);
      for (std::int64_t c = 0; c < plan.channels; c += kLanes<T>) {
        const auto live = static_cast<int>(std::min<std::int64_t>(kLanes<T>, plan.channels - c));
        const T* block = packed + c / kBlock * plan.block_size() + c % kBlock;
        const auto accumulate_taps = [&]<int kTaps>(std::integral_constant<int, kTaps>,
                                                    std::int64_t first_tap) {
          Vector<T> sum[kTaps];
          const T* in[kTaps];
          T* out = slice_sums + first_tap * stride + c;
          unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA { sum[t] = load(out + t * stride); });
          for (std::int64_t row = 0; row < rows; ++row) {
            unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
              in[t] = block + lattice.offsets[static_cast<std::size_t>(first_tap + t)] +
                      row * plan.lattice_row_size();
            });
            const T* gradients = dy_band + row * plan.out_width * shape.k + c;
            for (std::int64_t q = 0; q < plan.out_width; ++q) {
              const T* at = gradients + q * shape.k;
              const Vector<T> gradient = live == kLanes<T> ? load(at) : load_partly(at, live);
              unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
                sum[t] += load(in[t] + q * plan.lattice_column_size()) * gradient;
              });
            }
          }
          unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA { store(out + t * stride, sum[t]); });
        };
        std::int64_t t = 0;  // many taps at a time: a sum waits for its own last addition
        for (; t + 9 <= taps; t += 9) accumulate_taps(std::integral_constant<int, 9>{}, t);
        for (; t + 3 <= taps; t += 3) accumulate_taps(std::integral_constant<int, 3>{}, t);
        for (; t < taps; ++t) accumulate_taps(std::integral_constant<int, 1>{}, t);
      }
    }
  });

  bias.finish();
  for (std::int64_t c = 0; c < shape.c; ++c) {
    for (std::int64_t t = 0; t < taps; ++t) {
      T sum = accumulate ? dw[c * taps + t] : T(0);
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        sum += sums.data()[(slice * taps + t) * stride + c];
      }
      dw[c * taps + t] = sum;
    }
  }
}

#define ATTUNE_INSTANTIATE(T)                                                                \
  template void depthwise_forward(T*, const T*, const Filter<T>&, const Conv2dShape&,        \
                                  const Conv2dEpilogue<T>&);                                 \
  template void depthwise_backward_input(T*, const T*, const Filter<T>&, const Conv2dShape&, \
                                         const Conv2dEpilogue<T>&);                          \
  template void depthwise_backward_weight(T*, const T*, const T*, const Conv2dShape&, bool,  \
                                          double*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)

}  // namespace attune::kernels::cpu::ATTUNE_ISA
