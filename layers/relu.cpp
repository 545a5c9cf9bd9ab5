#include "attune/layers/relu.h"

#include "attune/core/ops/unary.h"

namespace attune {

Tensor ReLU::forward(const Tensor& x) { return relu(x); }

Tensor ReLU6::forward(const Tensor& x) { return relu6(x); }

}  // namespace attune
