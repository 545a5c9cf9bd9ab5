#include "attune/layers/flatten.h"

#include "attune/core/ops/reshape.h"

namespace attune {

Tensor Flatten::forward(const Tensor& x) { return flatten(x); }

}  // namespace attune
