#include "attune/layers/relu.h"

#include "attune/core/ops/relu.h"

namespace attune {

Tensor ReLU::forward(const Tensor& x) { return relu(x); }

}  // namespace attune
