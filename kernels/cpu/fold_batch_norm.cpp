#include "attune/kernels/cpu/fold_batch_norm.h"

#include <algorithm>
#include <cmath>

#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/memory.h"

// One task a group of rows of the filter that share their `inner` channels: all that belongs to a
// channel is summed by one thread, in order. The filter is small next to activations, so the
// per-channel numbers may as well be doubles.

namespace attune::kernels::cpu {
namespace {

/// gamma / sqrt(var + eps), and its factors, for every channel.
template <typename T>
class Scales {
 public:
  Scales(const T* gamma, const T* var, T eps, std::int64_t channels)
      : gamma_(gamma), var_(var), eps_(static_cast<double>(eps)), scale_(channels) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const double factor = gamma_ ? static_cast<double>(gamma_[c]) : 1.0;
      scale_.data()[c] = factor * rstd(c);
    }
  }

  double rstd(std::int64_t c) const { return 1 / std::sqrt(static_cast<double>(var_[c]) + eps_); }
  /// s of one channel, and of those from `c` on.
  double operator[](std::int64_t c) const { return scale_.data()[c]; }
  const double* from(std::int64_t c) const { return scale_.data() + c; }

 private:
  const T* gamma_;
  const T* var_;
  double eps_;
  Workspace<double> scale_;
};

std::int64_t groups(const FilterChannels& filter) { return filter.outer / filter.outer_per_group; }

/// Rows of `inner` elements in a group.
std::int64_t rows_per_group(const FilterChannels& filter) {
  return filter.outer_per_group * filter.middle;
}

/// b - mean, the bias as the normalisation sees it.
template <typename T>
double centred_bias(const T* b, const T* mean, std::int64_t c) {
  return (b ? static_cast<double>(b[c]) : 0.0) - static_cast<double>(mean[c]);
}

/// out = scale * in, for the elements of one channel.
template <typename T>
void scale_elements(T* out, const T* in, double scale, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<T>(scale * static_cast<double>(in[i]));
  }
}

/// dw (+)= scale * dw', for the elements of one channel. dw may be dw', and is then overwritten.
template <typename T>
void add_scaled_elements(T* dw, const T* dw_folded, double scale, std::int64_t count) {
  if (dw == dw_folded) return scale_elements(dw, dw_folded, scale, count);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    dw[i] = static_cast<T>(static_cast<double>(dw[i]) + scale * static_cast<double>(dw_folded[i]));
  }
}

/// <a, b>
template <typename T>
double dot_product(const T* a, const T* b, std::int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

}  // namespace

template <typename T>
void fold_batch_norm_forward(T* w_folded, T* b_folded, const T* w, const T* b, const T* gamma,
                             const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter) {
  const Scales<T> scales(gamma, var, eps, filter.channels());
  if (w_folded) {
    parallel_for(groups(filter), [&](std::int64_t group) {
      const double* scale = scales.from(group * filter.inner);
      std::int64_t element = group * rows_per_group(filter) * filter.inner;
      if (filter.inner == 1) {  // a group is one channel
        scale_elements(w_folded + element, w + element, *scale, rows_per_group(filter));
        return;
      }
      for (std::int64_t row = 0; row < rows_per_group(filter); ++row)
        for (std::int64_t i = 0; i < filter.inner; ++i, ++element) {
          w_folded[element] = static_cast<T>(scale[i] * static_cast<double>(w[element]));
        }
    });
  }
  if (b_folded) {
    for (std::int64_t c = 0; c < filter.channels(); ++c) {
      const double shift = beta ? static_cast<double>(beta[c]) : 0.0;
      b_folded[c] = static_cast<T>(centred_bias(b, mean, c) * scales[c] + shift);
    }
  }
}

template <typename T>
void fold_batch_norm_backward(T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter) {
  const Scales<T> scales(gamma, var, eps, filter.channels());
  const Workspace<double> dots(dgamma ? filter.channels() : 0);  // <dw', w> per channel

  if (dw || dgamma) {
    parallel_for(groups(filter), [&](std::int64_t group) {
      const double* scale = scales.from(group * filter.inner);
      double* dot = dgamma ? dots.data() + group * filter.inner : nullptr;
      std::int64_t element = group * rows_per_group(filter) * filter.inner;
      if (filter.inner == 1) {
        const std::int64_t count = rows_per_group(filter);
        // First, since dw may take the place of dw'.
        if (dot) *dot = dot_product(dw_folded + element, w + element, count);
        if (dw) add_scaled_elements(dw + element, dw_folded + element, *scale, count);
        return;
      }
      if (dot) std::fill_n(dot, filter.inner, 0.0);
      for (std::int64_t row = 0; row < rows_per_group(filter); ++row)
        for (std::int64_t i = 0; i < filter.inner; ++i, ++element) {
          const auto gradient = static_cast<double>(dw_folded[element]);
          if (dot) dot[i] += gradient * static_cast<double>(w[element]);
          if (dw) {
            const double before = dw == dw_folded ? 0.0 : static_cast<double>(dw[element]);
            dw[element] = static_cast<T>(before + scale[i] * gradient);
          }
        }
    });
  }

  for (std::int64_t c = 0; c < filter.channels(); ++c) {
    const double sum_dz = db_folded ? static_cast<double>(db_folded[c]) : 0.0;
    if (dgamma) {
      const double gradient = scales.rstd(c) * (dots.data()[c] + centred_bias(b, mean, c) * sum_dz);
      dgamma[c] = static_cast<T>(static_cast<double>(dgamma[c]) + gradient);
    }
    if (db) db[c] = static_cast<T>(static_cast<double>(db[c]) + scales[c] * sum_dz);
    if (dbeta) dbeta[c] += db_folded[c];
  }
}

template void fold_batch_norm_forward(float*, float*, const float*, const float*, const float*,
                                      const float*, const float*, const float*, float,
                                      const FilterChannels&);
template void fold_batch_norm_forward(double*, double*, const double*, const double*, const double*,
                                      const double*, const double*, const double*, double,
                                      const FilterChannels&);
template void fold_batch_norm_backward(float*, float*, float*, float*, const float*, const float*,
                                       const float*, const float*, const float*, const float*,
                                       const float*, float, const FilterChannels&);
template void fold_batch_norm_backward(double*, double*, double*, double*, const double*,
                                       const double*, const double*, const double*, const double*,
                                       const double*, const double*, double, const FilterChannels&);

}  // namespace attune::kernels::cpu
