#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

/// Which output channel a filter element belongs to. The filter is seen as [outer, middle, inner]:
///
///     channel(o, m, i) = (o / outer_per_group) * inner + i
///
/// A convolution [K, R, S, C/groups] has outer = K, outer_per_group = 1, inner = 1: one scale a
/// row. A transposed convolution [C, R, S, K/groups] has outer = C, outer_per_group = C / groups,
/// inner = K / groups: every group has its own slice of the scales.
struct FilterChannels {
  std::int64_t outer = 0, middle = 0, inner = 1;
  std::int64_t outer_per_group = 1;

  constexpr std::int64_t channels() const { return outer / outer_per_group * inner; }
  constexpr std::int64_t count() const { return outer * middle * inner; }
  constexpr std::int64_t channel(std::int64_t o, std::int64_t i) const {
    return o / outer_per_group * inner + i;
  }

  bool operator==(const FilterChannels&) const = default;
};

// The fold of arXiv 2305.11624, section 4. With r = 1 / sqrt(var + eps) and s = gamma * r, all
// per output channel: w' = s * w, b' = (b - mean) * s + beta. Null `b` and `beta` mean zeros, null
// `gamma` ones.

/// w_folded (the filter's shape) and b_folded [channels]; either may be null: not wanted.
template <typename T>
void fold_batch_norm_forward(Device device, T* w_folded, T* b_folded, const T* w, const T* b,
                             const T* gamma, const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter);

/// Gradients of the fold. Given dw_folded (may be null if neither dw nor dgamma is wanted) and
/// db_folded [channels] (the sum S of dz):
///
///     dw = s * dw'     db = s * S     dbeta = S     dgamma = r * (<dw', w> + (b - mean) * S)
///
/// Every wanted gradient is added to what it holds; a null pointer is not wanted. `dw` may be
/// `dw_folded` itself, in which case it is overwritten instead.
template <typename T>
void fold_batch_norm_backward(Device device, T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter);

}  // namespace attune::kernels
