#pragma once

#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"

// Reductions over axes. No axes means all of them; negative axes count from the end. The reduced
// axes disappear, or stay with extent 1 if `keepdims`. Sums are accumulated in double.

namespace attune {

/// Keeps nothing for backward.
Tensor sum(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keepdims = false);

/// Sum divided by the number of elements summed. Keeps nothing for backward.
Tensor mean(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keepdims = false);

/// The largest element; NaN if there is one. The gradient goes to the first largest element alone.
/// Keeps its position (int64). The reduced axes must not be empty.
Tensor max(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keepdims = false);

/// Position (int64) of the first largest element along one axis, of the first NaN if there is one.
/// Has no gradient.
Tensor argmax(const Tensor& x, std::int64_t axis, bool keepdims = false);

}  // namespace attune
