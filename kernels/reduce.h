#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

// Reductions over the middle of x [outer, middle, inner], giving y [outer, inner]. Any set of axes
// reduces to this form after a permutation that puts the reduced axes side by side. Sums are
// accumulated in double, in a fixed order.

/// y = scale * sum over the middle; added to what y holds if `accumulate`.
template <typename T>
void reduce_sum(Device device, T* y, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner, T scale = T(1), bool accumulate = false);

/// y = max over the middle, and `index` (null: not wanted) the position of the first largest
/// element. A NaN wins, and the first one does. `middle` must not be zero.
template <typename T>
void reduce_max(Device device, T* y, std::int64_t* index, const T* x, std::int64_t outer,
                std::int64_t middle, std::int64_t inner);

/// The adjoint of reduce_max: dx [outer, middle, inner] gets dy [outer, inner] at the positions
/// `index` [outer, inner] names and zero elsewhere; added to what dx holds if `accumulate`.
template <typename T>
void reduce_max_backward(Device device, T* dx, const T* dy, const std::int64_t* index,
                         std::int64_t outer, std::int64_t middle, std::int64_t inner,
                         bool accumulate = false);

/// Sum of x[i]^2, accumulated in double in a fixed order. On Device::meta: 0.
template <typename T>
double sum_of_squares(Device device, const T* x, std::int64_t count);

/// Whether every element is finite. On Device::meta: true.
template <typename T>
bool all_finite(Device device, const T* x, std::int64_t count);

}  // namespace attune::kernels
