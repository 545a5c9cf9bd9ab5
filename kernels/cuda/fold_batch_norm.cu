#include <cmath>

#include "attune/kernels/cuda/fold_batch_norm.h"
#include "attune/kernels/cuda/reduce_middle.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

// The output channel of a filter element, by FilterChannels' formula.
__device__ inline std::int64_t channel_of(const FilterChannels& filter, std::int64_t element) {
  return filter.channel(element / (filter.middle * filter.inner), element % filter.inner);
}

}  // namespace

// ---- launchers ----

template <typename T>
void fold_batch_norm_forward(T* w_folded, T* b_folded, const T* w, const T* b, const T* gamma,
                             const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter) {
  if (w_folded != nullptr) {
    for_each(filter.count(), [=] __device__(std::int64_t element) {
      const std::int64_t c = channel_of(filter, element);
      const T scale = value_or(gamma, c, T(1)) * (1 / std::sqrt(var[c] + eps));
      w_folded[element] = scale * w[element];
    });
  }
  if (b_folded != nullptr) {
    for_each(filter.channels(), [=] __device__(std::int64_t c) {
      const T scale = value_or(gamma, c, T(1)) * (1 / std::sqrt(var[c] + eps));
      b_folded[c] = (value_or(b, c, T(0)) - mean[c]) * scale + value_or(beta, c, T(0));
    });
  }
}

template <typename T>
void fold_batch_norm_backward(T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter) {
  // dgamma before dw, which may overwrite dw_folded. Its channel's elements are those of the
  // filter's group, seen as [groups, outer_per_group * middle, inner].
  if (dgamma != nullptr) {
    const std::int64_t group = filter.outer_per_group * filter.middle;
    const std::int64_t groups =
        filter.outer_per_group > 0 ? filter.outer / filter.outer_per_group : 0;
    reduce_middle<Sum>(
        {groups, group, filter.inner},
        [=] __device__(Sum & sum, std::int64_t o, std::int64_t m, std::int64_t i) {
          const std::int64_t element = (o * group + m) * filter.inner + i;
          sum.value += static_cast<double>(dw_folded[element]) * static_cast<double>(w[element]);
        },
        [=] __device__(std::int64_t c, const Sum& sum) {
          const double rstd = 1 / std::sqrt(static_cast<double>(var[c]) + static_cast<double>(eps));
          const double from_bias =
              (static_cast<double>(value_or(b, c, T(0))) - static_cast<double>(mean[c])) *
              static_cast<double>(db_folded[c]);
          dgamma[c] =
              static_cast<T>(static_cast<double>(dgamma[c]) + rstd * (sum.value + from_bias));
        });
  }
  if (dw != nullptr) {
    const bool overwrite = dw == dw_folded;
    for_each(filter.count(), [=] __device__(std::int64_t element) {
      const std::int64_t c = channel_of(filter, element);
      const T scale = value_or(gamma, c, T(1)) * (1 / std::sqrt(var[c] + eps));
      const T gradient = scale * dw_folded[element];
      dw[element] = overwrite ? gradient : dw[element] + gradient;
    });
  }
  if (db != nullptr || dbeta != nullptr) {
    for_each(filter.channels(), [=] __device__(std::int64_t c) {
      const T scale = value_or(gamma, c, T(1)) * (1 / std::sqrt(var[c] + eps));
      if (db != nullptr) db[c] += scale * db_folded[c];
      if (dbeta != nullptr) dbeta[c] += db_folded[c];
    });
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

}  // namespace attune::kernels::cuda
