#pragma once

#include "attune/core/tensor.h"

namespace attune {

/// c [m, n] = a [m, k] b [k, n]. Keeps a if b needs a gradient, and b if a does.
Tensor matmul(const Tensor& a, const Tensor& b);

}  // namespace attune
