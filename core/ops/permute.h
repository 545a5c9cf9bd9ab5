#pragma once

#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"

namespace attune {

/// Axis i of the result is axis `axes[i]` of x: permute(x, {0, 3, 1, 2}) makes [N, C, H, W] of
/// [N, H, W, C]. Copies the elements; any dtype. Keeps nothing for backward.
Tensor permute(const Tensor& x, const std::vector<std::int64_t>& axes);

/// x [m, n] -> [n, m].
Tensor transpose(const Tensor& x);

}  // namespace attune
