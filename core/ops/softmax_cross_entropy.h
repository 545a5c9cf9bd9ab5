#pragma once

#include "attune/core/tensor.h"

namespace attune {

/// Mean over the rows of the cross-entropy between softmax(logits) and the targets: a scalar.
/// logits [N, classes] floating, targets [N] int64 in [0, classes), on the same device. With label
/// smoothing e in [0, 1) the target distribution is (1 - e) onehot + e / classes (Szegedy et al.,
/// arXiv 1512.00567). A target out of range is an Error that names its row (not checked on
/// Device::meta). A GPU finds it while it computes, and nobody waits for that: there the loss is
/// NaN, and the Error is thrown by what next waits for the GPU, loss.item() for example.
///
/// Keeps logits and targets.
Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& targets,
                             double label_smoothing = 0);

}  // namespace attune
