#pragma once

#include "attune/core/tensor.h"

namespace attune {

/// Tensors as PyTorch stores them. The two differ in filters alone: every floating tensor of rank 4
/// is one, [out, h, w, in/groups] here and [out, in/groups, h, w] there; filters of transposed
/// convolutions have `in` and `out` exchanged in both, so the same permutation serves them. Other
/// tensors are returned as they are, sharing their elements.
Tensor to_pytorch_layout(const Tensor& tensor);
/// The inverse.
Tensor from_pytorch_layout(const Tensor& tensor);

NamedTensors to_pytorch_layout(const NamedTensors& tensors);
NamedTensors from_pytorch_layout(const NamedTensors& tensors);

}  // namespace attune
