#include "attune/core/pytorch_layout.h"

#include "attune/core/autograd.h"
#include "attune/core/ops/permute.h"

namespace attune {
namespace {

Tensor permuted_filter(const Tensor& tensor, const std::vector<std::int64_t>& axes) {
  if (!tensor.defined() || tensor.rank() != 4 || !is_floating(tensor.dtype())) return tensor;
  const NoGradGuard no_grad;
  return permute(tensor, axes);
}

NamedTensors converted(const NamedTensors& tensors, Tensor (*convert)(const Tensor&)) {
  NamedTensors results;
  for (const auto& [name, tensor] : tensors) results.emplace_back(name, convert(tensor));
  return results;
}

}  // namespace

Tensor to_pytorch_layout(const Tensor& tensor) { return permuted_filter(tensor, {0, 3, 1, 2}); }
Tensor from_pytorch_layout(const Tensor& tensor) { return permuted_filter(tensor, {0, 2, 3, 1}); }

NamedTensors to_pytorch_layout(const NamedTensors& tensors) {
  return converted(tensors, &to_pytorch_layout);
}

NamedTensors from_pytorch_layout(const NamedTensors& tensors) {
  return converted(tensors, &from_pytorch_layout);
}

}  // namespace attune
