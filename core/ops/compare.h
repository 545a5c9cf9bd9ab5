#pragma once

#include "attune/core/tensor.h"

// Comparisons element by element: a uint8 tensor of ones and zeros. Shapes broadcast as in
// arithmetic.h; any dtype, the same on both sides. They have no gradient. A comparison with NaN is
// false, except not_equal.

namespace attune {

Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);

}  // namespace attune
