#pragma once

#include "attune/core/tensor.h"

namespace attune {

/// y [N, out] = x [N, in] weight^T + bias, with weight [out, in] and bias [out] (undefined: none).
/// Keeps x if weight needs a gradient, and weight if x does.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace attune
