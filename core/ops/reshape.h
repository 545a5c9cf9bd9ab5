#pragma once

#include "attune/core/tensor.h"

namespace attune {

/// The same elements under another shape of equal count: no copy, and nothing is kept.
Tensor reshape(const Tensor& x, const Shape& shape);

/// Merges `first_axis` and all axes behind it into one: [N, H, W, C] -> [N, H * W * C].
Tensor flatten(const Tensor& x, std::int64_t first_axis = 1);

}  // namespace attune
