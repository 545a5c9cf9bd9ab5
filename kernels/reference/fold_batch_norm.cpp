#include "attune/kernels/reference/fold_batch_norm.h"

#include <cmath>
#include <vector>

namespace attune::kernels::reference {
namespace {

/// value[channel], or `otherwise` where there is no such array.
template <typename T>
double value_or(const T* values, std::int64_t channel, double otherwise) {
  return values ? static_cast<double>(values[channel]) : otherwise;
}

template <typename T>
double reciprocal_std(const T* var, T eps, std::int64_t channel) {
  return 1 / std::sqrt(static_cast<double>(var[channel]) + static_cast<double>(eps));
}

/// Calls visit(element, channel) for every element of the filter, in order.
template <typename Visit>
void for_each_element(const FilterChannels& filter, Visit visit) {
  std::int64_t element = 0;
  for (std::int64_t o = 0; o < filter.outer; ++o)
    for (std::int64_t m = 0; m < filter.middle; ++m)
      for (std::int64_t i = 0; i < filter.inner; ++i) visit(element++, filter.channel(o, i));
}

}  // namespace

template <typename T>
void fold_batch_norm_forward(T* w_folded, T* b_folded, const T* w, const T* b, const T* gamma,
                             const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter) {
  const auto scale = [&](std::int64_t channel) {
    return value_or(gamma, channel, 1) * reciprocal_std(var, eps, channel);
  };
  if (w_folded) {
    for_each_element(filter, [&](std::int64_t element, std::int64_t channel) {
      w_folded[element] = static_cast<T>(scale(channel) * static_cast<double>(w[element]));
    });
  }
  if (b_folded) {
    for (std::int64_t c = 0; c < filter.channels(); ++c) {
      b_folded[c] = static_cast<T>((value_or(b, c, 0) - static_cast<double>(mean[c])) * scale(c) +
                                   value_or(beta, c, 0));
    }
  }
}

template <typename T>
void fold_batch_norm_backward(T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter) {
  // dgamma before dw, which may overwrite dw_folded.
  if (dgamma) {
    std::vector<double> dot(static_cast<std::size_t>(filter.channels()));
    for_each_element(filter, [&](std::int64_t element, std::int64_t channel) {
      dot[static_cast<std::size_t>(channel)] +=
          static_cast<double>(dw_folded[element]) * static_cast<double>(w[element]);
    });
    for (std::int64_t c = 0; c < filter.channels(); ++c) {
      const double from_bias =
          (value_or(b, c, 0) - static_cast<double>(mean[c])) * static_cast<double>(db_folded[c]);
      dgamma[c] = static_cast<T>(static_cast<double>(dgamma[c]) +
                                 reciprocal_std(var, eps, c) *
                                     (dot[static_cast<std::size_t>(c)] + from_bias));
    }
  }
  const auto scale = [&](std::int64_t channel) {
    return value_or(gamma, channel, 1) * reciprocal_std(var, eps, channel);
  };
  if (dw) {
    for_each_element(filter, [&](std::int64_t element, std::int64_t channel) {
      const double before = dw == dw_folded ? 0.0 : static_cast<double>(dw[element]);
      dw[element] =
          static_cast<T>(before + scale(channel) * static_cast<double>(dw_folded[element]));
    });
  }
  for (std::int64_t c = 0; c < filter.channels(); ++c) {
    if (db) db[c] = static_cast<T>(db[c] + scale(c) * static_cast<double>(db_folded[c]));
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

}  // namespace attune::kernels::reference
