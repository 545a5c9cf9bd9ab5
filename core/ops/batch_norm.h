#pragma once

#include "attune/core/tensor.h"

namespace attune {

// Batch normalisation over the last axis of y [..., C] (Ioffe and Szegedy, arXiv 1502.03167).
// `gamma` and `beta` [C] may be undefined: ones and zeros. `residual` (y's shape) may be undefined.

/// z = (y - mean) / sqrt(var + eps) * gamma + beta (+ residual, then ReLU), with the mean and the
/// biased variance of this batch; gradients flow through both. Unless undefined, `running_mean` and
/// `running_var` move towards them: running += momentum * (new - running), with the unbiased
/// variance. Throws Error if there is but one value a channel, which has no variance.
///
/// Keeps y, the mean and 1 / sigma if y or gamma needs a gradient.
Tensor batch_norm_train(const Tensor& y, const Tensor& gamma, const Tensor& beta,
                        Tensor running_mean, Tensor running_var, double momentum = 0.1,
                        double eps = 1e-5, const Tensor& residual = {}, bool relu = false);

/// The same with the running statistics, which are constants here: a per-channel affine map, with
/// gradients to y, gamma and beta.
///
/// Keeps y if gamma needs a gradient.
Tensor batch_norm_eval(const Tensor& y, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_var, double eps = 1e-5,
                       const Tensor& residual = {}, bool relu = false);

/// Adds 1 to a layer's count of the batches that its running statistics have seen, int64 [].
void count_batch(Tensor& num_batches_tracked);

}  // namespace attune
