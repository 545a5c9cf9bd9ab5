#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"

namespace attune {

/// Surrounds x with `value`: padding[i] = {before, after} elements along axis i, one pair an axis,
/// none negative. Any dtype. Keeps nothing for backward.
Tensor pad(const Tensor& x, const std::vector<std::array<std::int64_t, 2>>& padding,
           double value = 0);

}  // namespace attune
