#include "attune/kernels/cpu/reduce.h"

#include <array>
#include <atomic>
#include <cmath>

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {

template <typename T>
void reduce_sum(T* y, const T* x, std::int64_t outer, std::int64_t middle, std::int64_t inner,
                T scale, bool accumulate) {
  const auto store = [&](std::int64_t i, double sum) {
    const double before = accumulate ? double{y[i]} : 0.0;
    y[i] = static_cast<T>(before + double{scale} * sum);
  };
  // Enough outer indices keep every thread busy; with few of them each sum is cut in slices.
  constexpr std::int64_t kManyOuter = 16;
  const std::int64_t slices = outer < kManyOuter ? slices_of(middle * inner) : 1;
  const std::int64_t unit = std::max<std::int64_t>(1, middle * inner / slices);
  Workspace<double> partial(slices > 1 ? outer * slices * inner : 0);

  parallel_for_ranges(outer * slices, std::max<std::int64_t>(1, kGrain / unit), [&](Range units) {
    for (std::int64_t i = units.first; i < units.last; ++i) {
      const std::int64_t o = i / slices;
      for_each_tile(inner, [&](const ChannelTile& tile) {
        Row<double> sums;
        sum_rows(sums, x + o * middle * inner, tile, piece(middle, slices, i % slices), inner);
        for (std::int64_t c = 0; c < tile.count; ++c) {
          if (slices == 1) {
            store(o * inner + tile.first + c, sums[c]);
          } else {
            partial.data()[i * inner + tile.first + c] = sums[c];
          }
        }
      });
    }
  });

  if (slices == 1) return;
  for (std::int64_t i = 0; i < outer * inner; ++i) {
    const double* first = partial.data() + i / inner * slices * inner + i % inner;
    double sum = 0;
    for (std::int64_t slice = 0; slice < slices; ++slice) sum += first[slice * inner];
    store(i, sum);
  }
}

template <typename T>
void reduce_max(T* y, std::int64_t* index, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner) {
  const std::int64_t unit = std::max<std::int64_t>(1, middle * inner);
  parallel_for_ranges(outer, std::max<std::int64_t>(1, kGrain / unit), [&](Range range) {
    for (std::int64_t o = range.first; o < range.last; ++o) {
      const T* candidate = x + o * middle * inner;
      T* best = y + o * inner;
      std::int64_t* position = index ? index + o * inner : nullptr;
      std::copy_n(candidate, inner, best);
      if (position) std::fill_n(position, inner, 0);
      for (std::int64_t m = 1; m < middle; ++m) {
        candidate += inner;
        for (std::int64_t i = 0; i < inner; ++i) {
          // True also if the candidate is the first NaN.
          if (candidate[i] <= best[i] || std::isnan(best[i])) continue;
          best[i] = candidate[i];
          if (position) position[i] = m;
        }
      }
    }
  });
}

template <typename T>
void reduce_max_backward(T* dx, const T* dy, const std::int64_t* index, std::int64_t outer,
                         std::int64_t middle, std::int64_t inner, bool accumulate) {
  const std::int64_t unit = std::max<std::int64_t>(1, middle * inner);
  parallel_for_ranges(outer, std::max<std::int64_t>(1, kGrain / unit), [&](Range range) {
    for (std::int64_t o = range.first; o < range.last; ++o) {
      T* block = dx + o * middle * inner;
      if (!accumulate) std::fill_n(block, middle * inner, T(0));
      for (std::int64_t i = 0; i < inner; ++i) {
        block[index[o * inner + i] * inner + i] += dy[o * inner + i];
      }
    }
  });
}

template <typename T>
double sum_of_squares(const T* x, std::int64_t count) {
  const std::int64_t slices = slices_of(count);
  std::array<double, kMaxSlices> partial{};
  parallel_for(slices, [&](std::int64_t slice) {
    // One channel: a row is kMaxRow elements, of which each has a sum of its own.
    const ChannelTile tile{0, 1, kMaxRow};
    Row<double> sums{};
    for_each_row(tile, piece(count, slices, slice), 1, [&](std::int64_t offset, std::int64_t size) {
      const T* row = x + offset;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) sums[i] += double{row[i]} * double{row[i]};
    });
    gather(sums, tile);
    partial[static_cast<std::size_t>(slice)] = sums[0];
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return sum;
}

template <typename T>
bool all_finite(const T* x, std::int64_t count) {
  std::atomic<bool> finite = true;
  parallel_for_ranges(count, kGrain, [&](Range range) {
    Row<T> zeros{};
    for_each_row(ChannelTile{0, 1, kMaxRow}, range, 1, [&](std::int64_t offset, std::int64_t size) {
      const T* row = x + offset;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) zeros[i] += 0 * row[i];  // NaN if not finite
    });
    for (const T zero : zeros.values) {
      if (!(zero == 0)) finite = false;
    }
  });
  return finite;
}

template void reduce_sum(float*, const float*, std::int64_t, std::int64_t, std::int64_t, float,
                         bool);
template void reduce_sum(double*, const double*, std::int64_t, std::int64_t, std::int64_t, double,
                         bool);
template void reduce_max(float*, std::int64_t*, const float*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max(double*, std::int64_t*, const double*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max_backward(float*, const float*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template void reduce_max_backward(double*, const double*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template double sum_of_squares(const float*, std::int64_t);
template double sum_of_squares(const double*, std::int64_t);
template bool all_finite(const float*, std::int64_t);
template bool all_finite(const double*, std::int64_t);

}  // namespace attune::kernels::cpu
