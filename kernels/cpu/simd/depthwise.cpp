#include "attune/kernels/cpu/simd/depthwise.h"

#include <algorithm>
#include <type_traits>

#include "attune/kernels/cpu/conv2d_plan.h"
#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/cpu/simd/bias_gradient.h"
#include "attune/kernels/cpu/simd/tile.h"
#include "attune/kernels/memory.h"

// A depthwise convolution has no channels to sum over, so it is not a matrix product: vectors run
// along the channels of both operands, and each input is used once a tap. That little arithmetic
// pays for no packing: the source is read where it is, as far as it exists. A few neighbouring
// pixels are done row after row, so that each row of the source, once in the L1 cache, serves all
// rows of the filter.

namespace attune::kernels::cpu::ATTUNE_ISA {
namespace {

/// A row of the filter as an output row sees it: the source row under it, and where the weights of
/// its taps are in [R * S, channels].
template <typename T>
struct TapRow {
  const T* x;
  std::int64_t weights;
};

/// Those of them that are inside the source.
template <typename T>
struct TapRows {
  const TapRow<T>* first;
  const TapRow<T>* last;
};

/// Lists, from `list` on, what row `h` of an output image sees of the source's.
template <typename T>
TapRows<T> rows_seen(TapRow<T>* list, const T* image, const DepthwisePlan& plan, std::int64_t h) {
  const auto lattices = static_cast<std::int64_t>(plan.rows.size());
  const TapAxis& axis = plan.rows[static_cast<std::size_t>(h % lattices)];
  TapRow<T>* last = list;
  for (const ReachingTap& row : axis.taps) {
    const std::int64_t source = h / lattices * axis.source_step + row.distance;
    if (source < 0 || source >= plan.height) continue;
    *last++ = {image + source * plan.width * plan.channels,
               row.tap * plan.filter_width * plan.weight_stride()};
  }
  return {list, last};
}

/// A vector of channels from `c` on, of which the last ones may not exist.
template <bool kWhole, typename T>
ATTUNE_INLINE Vector<T> load_channels(const T* pixel, std::int64_t c, std::int64_t channels) {
  if constexpr (kWhole) {
    return load(pixel + c);
  } else {
    return load_partly(pixel + c, static_cast<int>(channels - c));
  }
}

/// Calls body<kWhole>(c) for each vector of channels.
template <typename T, typename Body>
ATTUNE_INLINE void for_each_vector(Range channels, const Body& body) {
  std::int64_t c = channels.first;
  for (; c + kLanes<T> <= channels.last; c += kLanes<T>) body.template operator()<true>(c);
  if (c < channels.last) body.template operator()<false>(c);
}

/// Some channels of some rows of outputs: what each of the rows sees, and where the first one
/// begins in the output.
template <typename T>
struct Band {
  const TapRows<T>* rows;
  std::int64_t row_count;
  Range channels;
  std::int64_t at, row_size;
};

/// The taps of a row of the filter that some neighbouring outputs see: `x_at` elements into the
/// source's rows, plus each tap's distance, and `x_step` further for each output.
struct TapColumns {
  const ReachingTap* first;
  const ReachingTap* last;
  std::int64_t x_at, x_step;
};

/// kPixels neighbouring outputs, `pixel` elements into each row of a band. If kTaps is not zero, it
/// is the number of taps, they see neighbours, and outputs see inputs kStep apart: all inputs are
/// then loaded once for all taps.
template <int kPixels, int kTaps, int kStep, typename T>
[[gnu::noinline]] void correlate_tile(const Band<T>& band, const TapColumns& columns,
                                      const T* weights, std::int64_t weight_stride,
                                      const TileOutput<T>& out, std::int64_t pixel) {
  const std::int64_t channels = out.channels, step = columns.x_step;
  const ReachingTap* const first = columns.first;
  std::int64_t at = band.at + pixel;
  for (std::int64_t i = 0; i < band.row_count; ++i, at += band.row_size) {
    const TapRows<T> rows = band.rows[i];
    for_each_vector<T>(band.channels, [&]<bool kWhole>(std::int64_t c) ATTUNE_INLINE_LAMBDA {
      Vector<T> sum[kPixels][1];
      clear(sum);
      for (const TapRow<T>* row = rows.first; row != rows.last; ++row) {
        const T* row_weights = weights + row->weights + c;
        if constexpr (kTaps > 0) {
          Vector<T> weight[kTaps];
          unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
            weight[t] = load(row_weights + first[t].tap * weight_stride);
          });
          const T* x = row->x + (columns.x_at + first->distance * channels);
          unroll<(kPixels - 1) * kStep + kTaps>([&](auto j) ATTUNE_INLINE_LAMBDA {
            const Vector<T> value = load_channels<kWhole>(x + j * channels, c, channels);
            unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
              constexpr int kAt = j - t, kPixel = kAt / kStep;
              if constexpr (kAt >= 0 && kAt % kStep == 0 && kPixel < kPixels) {
                sum[kPixel][0] += value * weight[t];
              }
            });
          });
        } else {
          for (const ReachingTap* tap = first; tap != columns.last; ++tap) {
            const Vector<T> weight = load(row_weights + tap->tap * weight_stride);
            const T* x = row->x + (columns.x_at + tap->distance * channels);
            unroll<kPixels>([&](auto p) ATTUNE_INLINE_LAMBDA {
              sum[p][0] += load_channels<kWhole>(x + p * step, c, channels) * weight;
            });
          }
        }
      }
      finish_tile(sum, out, at + c, c);
    });
  }
}

/// The outputs of a band in one lattice of columns.
template <typename T>
void correlate_band(const Band<T>& band, const TapAxis& axis, const DepthwisePlan& plan,
                    const T* weights, const TileOutput<T>& out) {
  const std::int64_t step = axis.source_step * plan.channels;
  const ReachingTap* const taps = axis.taps.data();
  const ReachingTap* const taps_end = taps + axis.taps.size();
  const auto border = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      const auto is_inside = [&](const ReachingTap& tap) {
        const std::int64_t w = j * axis.source_step + tap.distance;
        return w >= 0 && w < plan.width;
      };
      TapColumns columns{taps, taps_end, j * step, step};
      while (columns.first != columns.last && !is_inside(*columns.first)) ++columns.first;
      while (columns.first != columns.last && !is_inside(columns.last[-1])) --columns.last;
      correlate_tile<1, 0, 0>(band, columns, weights, plan.weight_stride(), out,
                              j * out.pixel_stride);
    }
  };
  const auto inner = [&]<int kTaps, int kStep>() {
    const std::int64_t count = axis.inner_last - axis.inner_first;
    for_each_tile_size<1>(count, [&]<int kPixels>(std::int64_t done) {
      for (; done + kPixels <= count; done += kPixels) {
        const std::int64_t j = axis.inner_first + done;
        correlate_tile<kPixels, kTaps, kStep>(band, {taps, taps_end, j * step, step}, weights,
                                              plan.weight_stride(), out, j * out.pixel_stride);
      }
      return done;
    });
  };
  border(0, axis.inner_first);
  if (axis.sees_neighbours && axis.taps.size() == 3 && axis.source_step == 1) {
    inner.template operator()<3, 1>();
  } else if (axis.sees_neighbours && axis.taps.size() == 3 && axis.source_step == 2) {
    inner.template operator()<3, 2>();
  } else {
    inner.template operator()<0, 0>();
  }
  border(axis.inner_last, axis.count);
}

/// The filter [C, R, S] as [R * S][weight_stride], zeros for the channels that do not exist.
template <typename T>
void transpose_filter(T* weights, const T* w, const DepthwisePlan& plan) {
  std::fill_n(weights, plan.taps() * plan.weight_stride(), T(0));
  for (std::int64_t c = 0; c < plan.channels; ++c) {
    for (std::int64_t t = 0; t < plan.taps(); ++t) {
      weights[t * plan.weight_stride() + c] = w[c * plan.taps() + t];
    }
  }
}

/// Rows of outputs in a band: as many as leave each thread something to do; equal bands.
std::int64_t band_rows(const DepthwisePlan& plan) {
  constexpr std::int64_t kMinUnits = 16, kMaxRows = 28;
  const std::int64_t rows = std::clamp<std::int64_t>(plan.images * plan.out_height / kMinUnits, 1,
                                                     std::min(kMaxRows, plan.out_height));
  return ceil_div(plan.out_height, ceil_div(plan.out_height, rows));
}

/// out = epilogue(correlation of source with w): forward and backward-input alike.
template <typename T>
void correlate(T* y, const T* source, const Filter<T>& w, const DepthwisePlan& plan,
               const Conv2dEpilogue<T>& epilogue) {
  PreparedFilter<T> weights(w, plan.taps() * plan.weight_stride());
  if (!weights.is_ready()) {
    transpose_filter(weights.data(), w.elements, plan);
    weights.keep();
  }

  // 16 pixels of so many channels, in the rows of a 3x3 filter of stride 1, fit the L1 cache.
  constexpr std::int64_t kChannels = 512 / sizeof(T);
  const std::int64_t rows = band_rows(plan), bands = ceil_div(plan.out_height, rows);
  const std::int64_t units = plan.images * bands, workers = std::min(units, kMaxWorkers);
  const Workspace<TapRow<T>> row_lists(workers * rows * plan.filter_height);
  const Workspace<TapRows<T>> band_lists(workers * rows);
  parallel_for_workers(units, workers, [&](std::int64_t unit, std::int64_t worker) {
    const std::int64_t image = unit / bands, first = unit % bands * rows;
    const std::int64_t count = std::min(rows, plan.out_height - first);
    const T* in = source + image * plan.height * plan.width * plan.channels;
    TapRows<T>* list = band_lists.data() + worker * rows;
    for (std::int64_t i = 0; i < count; ++i) {
      list[i] = rows_seen(row_lists.data() + (worker * rows + i) * plan.filter_height, in, plan,
                          first + i);
    }
    for (const TapAxis& columns : plan.columns) {
      const TileOutput<T> out{.y = y,
                              .pixel_stride = columns.step * plan.channels,
                              .channels = plan.channels,
                              .epilogue = epilogue};
      const std::int64_t pixel = (image * plan.out_height + first) * plan.out_width + columns.first;
      for (std::int64_t c = 0; c < plan.channels; c += kChannels) {
        const Range some{c, std::min(plan.channels, c + kChannels)};
        correlate_band<T>(
            {list, count, some, pixel * plan.channels, plan.out_width * plan.channels}, columns,
            plan, weights.data(), out);
      }
    }
  });
}

/// A tap as an output sees it: the source's pixel, and where its weights are in [R * S, channels].
template <typename T>
struct Tap {
  const T* x;
  std::int64_t weights;
};

/// Lists, from `list` on, the taps that exist for output column `j`; returns the end of the list.
template <typename T>
Tap<T>* list_taps(Tap<T>* list, const TapRows<T>& rows, const TapAxis& columns,
                  const DepthwisePlan& plan, std::int64_t j) {
  for (const TapRow<T>* row = rows.first; row != rows.last; ++row) {
    for (const ReachingTap& tap : columns.taps) {
      const std::int64_t w = j * columns.source_step + tap.distance;
      if (w < 0 || w >= plan.width) continue;
      *list++ = {row->x + w * plan.channels, row->weights + tap.tap * plan.weight_stride()};
    }
  }
  return list;
}

/// sums[tap] += sum over `count` neighbouring pixels of the tap's input times dy.
template <int kTaps, typename T>
[[gnu::noinline]] void add_products(const Tap<T>* taps, T* sums, const T* dy, std::int64_t count,
                                    std::int64_t step, std::int64_t channels) {
  for_each_vector<T>({0, channels}, [&]<bool kWhole>(std::int64_t c) ATTUNE_INLINE_LAMBDA {
    Vector<T> sum[kTaps];
    const T* x[kTaps];
    unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
      sum[t] = load(sums + taps[t].weights + c);
      x[t] = taps[t].x;
    });
    for (std::int64_t q = 0; q < count; ++q) {
      const Vector<T> gradient = load_channels<kWhole>(dy + q * channels, c, channels);
      unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA {
        sum[t] += load_channels<kWhole>(x[t] + q * step, c, channels) * gradient;
      });
    }
    unroll<kTaps>([&](auto t) ATTUNE_INLINE_LAMBDA { store(sums + taps[t].weights + c, sum[t]); });
  });
}

/// The same for all taps of a list: as many as there are registers for, since a sum waits for its
/// own last addition.
template <typename T>
void add_products(const Tap<T>* tap, const Tap<T>* last, T* sums, const T* dy, std::int64_t count,
                  std::int64_t step, std::int64_t channels) {
  const auto add = [&]<int kTaps>(std::integral_constant<int, kTaps>) ATTUNE_INLINE_LAMBDA {
    for (; last - tap >= kTaps; tap += kTaps) {
      add_products<kTaps>(tap, sums, dy, count, step, channels);
    }
  };
  add(std::integral_constant<int, 9>{});
  add(std::integral_constant<int, 3>{});
  add(std::integral_constant<int, 1>{});
}

}  // namespace

template <typename T>
void depthwise_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                       const Conv2dEpilogue<T>& epilogue) {
  correlate(y, x, w, depthwise_forward_plan(shape), epilogue);
}

template <typename T>
void depthwise_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                              const Conv2dEpilogue<T>& epilogue) {
  correlate(dx, dy, w, depthwise_backward_input_plan(shape), epilogue);
}

template <typename T>
void depthwise_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                               bool accumulate, double* dy_sums) {
  // Neighbours that are done for all channels before the next ones, in the order of memory.
  constexpr std::int64_t kPixels = 32;
  const DepthwisePlan& plan = depthwise_forward_plan(shape);
  const TapAxis& columns = plan.columns.front();
  const std::int64_t channels = plan.channels, size = plan.taps() * plan.weight_stride();
  const std::int64_t rows = plan.images * plan.out_height;
  const std::int64_t slices = std::min(rows, kMaxWorkers);
  const Workspace<T> sums(slices * size);
  const Workspace<TapRow<T>> row_lists(slices * plan.filter_height);
  const Workspace<Tap<T>> lists(slices * plan.taps());
  BiasSums bias(dy_sums, slices, channels);

  parallel_for(slices, [&](std::int64_t slice) {
    T* slice_sums = sums.data() + slice * size;
    std::fill_n(slice_sums, size, T(0));
    TapRow<T>* row_list = row_lists.data() + slice * plan.filter_height;
    Tap<T>* list = lists.data() + slice * plan.taps();
    const Range range = piece(rows, slices, slice);
    for (std::int64_t row = range.first; row < range.last; ++row) {
      const T* image = x + row / plan.out_height * plan.height * plan.width * channels;
      const T* dy_row = dy + row * plan.out_width * channels;
      bias.add(slice, 0, channels, dy_row, channels, plan.out_width);
      const TapRows<T> seen = rows_seen(row_list, image, plan, row % plan.out_height);
      for (std::int64_t j = 0, count = 0; j < plan.out_width; j += count) {
        const bool inner = j >= columns.inner_first && j < columns.inner_last;
        count = inner ? std::min(kPixels, columns.inner_last - j) : 1;
        const Tap<T>* last = list_taps(list, seen, columns, plan, j);
        add_products(list, last, slice_sums, dy_row + j * channels, count,
                     columns.source_step * channels, channels);
      }
    }
  });

  bias.finish();
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t t = 0; t < plan.taps(); ++t) {
      T sum = accumulate ? dw[c * plan.taps() + t] : T(0);
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        sum += sums.data()[slice * size + t * plan.weight_stride() + c];
      }
      dw[c * plan.taps() + t] = sum;
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
