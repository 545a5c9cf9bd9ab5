#include "attune/kernels/cpu/batch_norm.h"

#include <cmath>

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {
namespace {

// Pixels that one thread takes at a time in a pass that maps elements to elements.
std::int64_t pixels_per_range(std::int64_t channels) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, channels));
}

// Number of pixels, mean, and sum of squared deviations from the mean, for every channel of a tile.
struct Moments {
  double count = 0;
  Row<double> mean{}, squares{};

  // Makes these the moments of both samples together (Chan, Golub and LeVeque 1979).
  void merge(double other_count, const double* other_mean, const double* other_squares,
             std::int64_t channels) {
    const double total = count + other_count;
    for (std::int64_t c = 0; c < channels; ++c) {
      const double delta = other_mean[c] - mean[c];
      mean[c] += delta * other_count / total;
      squares[c] += other_squares[c] + delta * delta * count * other_count / total;
    }
    count = total;
  }
};

// Chan, Golub and LeVeque 1983, on shifted data: one sweep suffices if deviations are taken from a
// value of the sample. Its own squared deviation from the mean is part of the result, so the
// subtraction below cancels at most a factor of the number of pixels, typically two, of a double.
template <typename T>
Moments find_moments(const T* y, const ChannelTile& tile, Range pixels, std::int64_t channels) {
  Moments moments;
  if (pixels.size() == 0) return moments;
  Row<double> center, sums, squares;
  spread(center, tile, [&](std::int64_t c) { return double{y[pixels.first * channels + c]}; });
  std::fill_n(sums.values, tile.width(), 0.0);
  std::fill_n(squares.values, tile.width(), 0.0);
  for_each_row(tile, pixels, channels, [&](std::int64_t offset, std::int64_t size) {
    const T* row = y + offset;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      const double deviation = double{row[i]} - center[i];
      sums[i] += deviation;
      squares[i] += deviation * deviation;
    }
  });
  gather(sums, tile);
  gather(squares, tile);

  moments.count = static_cast<double>(pixels.size());
  for (std::int64_t c = 0; c < tile.count; ++c) {
    const double mean_deviation = sums[c] / moments.count;
    moments.mean[c] = center[c] + mean_deviation;
    moments.squares[c] = std::max(squares[c] - sums[c] * mean_deviation, 0.0);
  }
  return moments;
}

// Two sums over the rows of a tile at once: add(sum, product, offset, size) adds one row, in T.
// Over so few rows that loses no digits worth mentioning; then they are added up in double.
template <typename T, typename Add>
void sum_rows_twice(Row<double>& sums, Row<double>& products, const ChannelTile& tile, Range pixels,
                    std::int64_t channels, const Add& add) {
  constexpr std::int64_t kFewRows = 16;
  std::fill_n(sums.values, tile.width(), 0.0);
  std::fill_n(products.values, tile.width(), 0.0);
  const std::int64_t few = kFewRows * tile.repeat;
  for (std::int64_t first = pixels.first; first < pixels.last; first += few) {
    Row<T> sum, product;
    std::fill_n(sum.values, tile.width(), T(0));
    std::fill_n(product.values, tile.width(), T(0));
    const Range some{first, std::min(pixels.last, first + few)};
    for_each_row(tile, some, channels, [&](std::int64_t offset, std::int64_t size) {
      add(sum.values, product.values, offset, size);
    });
#pragma omp simd
    for (std::int64_t i = 0; i < tile.width(); ++i) {
      sums[i] += double{sum[i]};
      products[i] += double{product[i]};
    }
  }
}

template <bool add_residual, bool relu, typename T>
void normalise_row(T* z, const T* y, const T* mean, const T* slope, const T* shift,
                   const T* residual, std::int64_t size) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    // The difference first: y * slope + (shift - mean * slope) loses digits where |mean| >> sigma.
    T value = (y[i] - mean[i]) * slope[i] + shift[i];
    if constexpr (add_residual) value += residual[i];
    if constexpr (relu) value = value < 0 ? T(0) : value;
    z[i] = value;
  }
}

}  // namespace

template <typename T>
void batch_norm_statistics(T* mean, T* var, const T* y, std::int64_t pixels,
                           std::int64_t channels) {
  const std::int64_t slices = slices_of(pixels * channels);
  Workspace<double> slice_means(slices * channels), slice_squares(slices * channels);
  parallel_for(slices, [&](std::int64_t slice) {
    for_each_tile(channels, [&](const ChannelTile& tile) {
      const Moments moments = find_moments(y, tile, piece(pixels, slices, slice), channels);
      const std::int64_t offset = slice * channels + tile.first;
      std::copy_n(moments.mean.values, tile.count, slice_means.data() + offset);
      std::copy_n(moments.squares.values, tile.count, slice_squares.data() + offset);
    });
  });

  for_each_tile(channels, [&](const ChannelTile& tile) {
    Moments moments;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      const std::int64_t offset = slice * channels + tile.first;
      moments.merge(static_cast<double>(piece(pixels, slices, slice).size()),
                    slice_means.data() + offset, slice_squares.data() + offset, tile.count);
    }
    for (std::int64_t c = 0; c < tile.count; ++c) {
      mean[tile.first + c] = static_cast<T>(moments.mean[c]);
      var[tile.first + c] = static_cast<T>(moments.squares[c] / moments.count);
    }
  });
}

template <typename T>
void batch_norm_update_running(T* running_mean, T* running_var, const T* mean, const T* var,
                               std::int64_t pixels, std::int64_t channels, T momentum) {
  const T unbias = static_cast<T>(static_cast<double>(pixels) / static_cast<double>(pixels - 1));
  for (std::int64_t c = 0; c < channels; ++c) {
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
    running_var[c] = (1 - momentum) * running_var[c] + momentum * (var[c] * unbias);
  }
}

template <typename T>
void batch_norm_rstd(T* rstd, const T* var, std::int64_t channels, T eps) {
  for (std::int64_t c = 0; c < channels; ++c) {
    rstd[c] = static_cast<T>(1 / std::sqrt(double{var[c]} + double{eps}));
  }
}

template <typename T>
void batch_norm_forward(T* z, const T* y, const T* mean, const T* rstd, const T* gamma,
                        const T* beta, const T* residual, bool relu, std::int64_t pixels,
                        std::int64_t channels) {
  const auto normalise =
      residual ? (relu ? normalise_row<true, true, T> : normalise_row<true, false, T>)
               : (relu ? normalise_row<false, true, T> : normalise_row<false, false, T>);
  parallel_for_ranges(pixels, pixels_per_range(channels), [&](Range range) {
    for_each_tile(channels, [&](const ChannelTile& tile) {
      Row<T> center, slope, shift;
      spread(center, tile, [&](std::int64_t c) { return mean[c]; });
      spread(slope, tile, [&](std::int64_t c) { return gamma ? rstd[c] * gamma[c] : rstd[c]; });
      spread(shift, tile, [&](std::int64_t c) { return beta ? beta[c] : T(0); });
      for_each_row(tile, range, channels, [&](std::int64_t offset, std::int64_t size) {
        normalise(z + offset, y + offset, center.values, slope.values, shift.values,
                  residual ? residual + offset : nullptr, size);
      });
    });
  });
}

template <typename T>
void batch_norm_backward_reduce(T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y, const T* mean,
                                const T* rstd, std::int64_t pixels, std::int64_t channels) {
  const std::int64_t slices = slices_of(pixels * channels);
  Workspace<double> slice_sums(slices * channels);
  Workspace<double> slice_products(sum_dz_yhat ? slices * channels : 0);
  parallel_for(slices, [&](std::int64_t slice) {
    const Range range = piece(pixels, slices, slice);
    for_each_tile(channels, [&](const ChannelTile& tile) {
      Row<double> sums, products;
      Row<T> center;
      if (sum_dz_yhat) spread(center, tile, [&](std::int64_t c) { return mean[c]; });
      sum_rows_twice<T>(sums, products, tile, range, channels,
                        [&](T* sum, T* product, std::int64_t offset, std::int64_t size) {
                          const T* dz_row = dz + offset;
                          if (!sum_dz_yhat) {
#pragma omp simd
                            for (std::int64_t i = 0; i < size; ++i) sum[i] += dz_row[i];
                            return;
                          }
                          const T* y_row = y + offset;
#pragma omp simd
                          for (std::int64_t i = 0; i < size; ++i) {
                            sum[i] += dz_row[i];
                            product[i] += dz_row[i] * (y_row[i] - center[i]);
                          }
                        });
      gather(sums, tile);
      gather(products, tile);
      const std::int64_t slice_offset = slice * channels + tile.first;
      std::copy_n(sums.values, tile.count, slice_sums.data() + slice_offset);
      if (sum_dz_yhat) {
        std::copy_n(products.values, tile.count, slice_products.data() + slice_offset);
      }
    });
  });

  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0, product = 0;
    for (std::int64_t i = c; i < slices * channels; i += channels) {
      sum += slice_sums.data()[i];
      if (sum_dz_yhat) product += slice_products.data()[i];
    }
    sum_dz[c] = static_cast<T>(sum);
    if (sum_dz_yhat) sum_dz_yhat[c] = static_cast<T>(product * double{rstd[c]});
  }
}

template <typename T>
void batch_norm_backward_train(T* dy, const T* dz, const T* y, const T* mean, const T* rstd,
                               const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels) {
  const T per_pixel = 1 / static_cast<T>(pixels);
  parallel_for_ranges(pixels, pixels_per_range(channels), [&](Range range) {
    for_each_tile(channels, [&](const ChannelTile& tile) {
      Row<T> center, slope, constant, linear;
      spread(center, tile, [&](std::int64_t c) { return mean[c]; });
      spread(slope, tile, [&](std::int64_t c) { return gamma ? rstd[c] * gamma[c] : rstd[c]; });
      spread(constant, tile, [&](std::int64_t c) { return sum_dz[c] * per_pixel; });
      spread(linear, tile, [&](std::int64_t c) { return rstd[c] * sum_dz_yhat[c] * per_pixel; });
      for_each_row(tile, range, channels, [&](std::int64_t offset, std::int64_t size) {
        T* dy_row = dy + offset;
        const T* dz_row = dz + offset;
        const T* y_row = y + offset;
#pragma omp simd
        for (std::int64_t i = 0; i < size; ++i) {
          const T through_statistics = constant[i] + (y_row[i] - center[i]) * linear[i];
          dy_row[i] = slope[i] * (dz_row[i] - through_statistics);
        }
      });
    });
  });
}

template <typename T>
void batch_norm_backward_eval(T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels) {
  parallel_for_ranges(pixels, pixels_per_range(channels), [&](Range range) {
    for_each_tile(channels, [&](const ChannelTile& tile) {
      Row<T> slope;
      spread(slope, tile, [&](std::int64_t c) { return gamma ? rstd[c] * gamma[c] : rstd[c]; });
      for_each_row(tile, range, channels, [&](std::int64_t offset, std::int64_t size) {
        T* dy_row = dy + offset;
        const T* dz_row = dz + offset;
#pragma omp simd
        for (std::int64_t i = 0; i < size; ++i) dy_row[i] = slope[i] * dz_row[i];
      });
    });
  });
}

template void batch_norm_statistics(float*, float*, const float*, std::int64_t, std::int64_t);
template void batch_norm_statistics(double*, double*, const double*, std::int64_t, std::int64_t);
template void batch_norm_update_running(float*, float*, const float*, const float*, std::int64_t,
                                        std::int64_t, float);
template void batch_norm_update_running(double*, double*, const double*, const double*,
                                        std::int64_t, std::int64_t, double);
template void batch_norm_rstd(float*, const float*, std::int64_t, float);
template void batch_norm_rstd(double*, const double*, std::int64_t, double);
template void batch_norm_forward(float*, const float*, const float*, const float*, const float*,
                                 const float*, const float*, bool, std::int64_t, std::int64_t);
template void batch_norm_forward(double*, const double*, const double*, const double*,
                                 const double*, const double*, const double*, bool, std::int64_t,
                                 std::int64_t);
template void batch_norm_backward_reduce(float*, float*, const float*, const float*, const float*,
                                         const float*, std::int64_t, std::int64_t);
template void batch_norm_backward_reduce(double*, double*, const double*, const double*,
                                         const double*, const double*, std::int64_t, std::int64_t);
template void batch_norm_backward_train(float*, const float*, const float*, const float*,
                                        const float*, const float*, const float*, const float*,
                                        std::int64_t, std::int64_t);
template void batch_norm_backward_train(double*, const double*, const double*, const double*,
                                        const double*, const double*, const double*, const double*,
                                        std::int64_t, std::int64_t);
template void batch_norm_backward_eval(float*, const float*, const float*, const float*,
                                       std::int64_t, std::int64_t);
template void batch_norm_backward_eval(double*, const double*, const double*, const double*,
                                       std::int64_t, std::int64_t);

}  // namespace attune::kernels::cpu
