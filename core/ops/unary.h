#pragma once

#include "attune/core/tensor.h"

// Functions of one floating tensor, element by element; the result has its shape.

namespace attune {

/// Keeps its output.
Tensor exp(const Tensor& x);
/// Natural logarithm. Keeps x.
Tensor log(const Tensor& x);
/// Keeps its output. The gradient at 0 is infinite.
Tensor sqrt(const Tensor& x);
/// x to a constant power. Keeps x.
Tensor pow(const Tensor& x, double exponent);
/// Keeps x. The gradient at 0 is 0.
Tensor abs(const Tensor& x);
/// max(x, 0). Keeps its output, which is the next layer's input anyway, so that the rectifier
/// usually costs no memory. The gradient at 0 is 0.
Tensor relu(const Tensor& x);
/// min(max(x, 0), 6) (Howard et al., arXiv 1704.04861). Keeps its output. The gradient at 0 and at
/// 6 is 0.
Tensor relu6(const Tensor& x);
/// 1 / (1 + exp(-x)). Keeps its output.
Tensor sigmoid(const Tensor& x);
/// Keeps its output.
Tensor tanh(const Tensor& x);

}  // namespace attune
