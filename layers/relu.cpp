#include "attune/layers/relu.h"

#include "attune/core/ops/unary.h"

namespace attune {

Tensor ReLU::forward(const Tensor& x) { return relu(x); }

}  // namespace attune
