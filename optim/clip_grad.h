#pragma once

#include <vector>

#include "attune/core/tensor.h"

namespace attune {

/// Euclidean norm of the gradients of all `params`, seen as one vector; those without a gradient
/// are skipped. Accumulated in double. Throws Error if a gradient is listed twice.
double grad_norm(const std::vector<Tensor>& params);

/// Scales the gradients in place by max_norm / (norm + 1e-6) if that is less than 1, as PyTorch
/// does, so that their norm becomes at most `max_norm` > 0 (Pascanu et al., arXiv 1211.5063,
/// algorithm 1). Returns the norm before. If it is NaN or infinite, the scaled gradients hold NaN;
/// `error_if_nonfinite` throws Error instead, with the gradients as they were.
double clip_grad_norm(const std::vector<Tensor>& params, double max_norm,
                      bool error_if_nonfinite = false);

/// Limits every element of the gradients to [-max_value, max_value], in place; max_value > 0. NaN
/// stays NaN.
void clip_grad_value(const std::vector<Tensor>& params, double max_value);

}  // namespace attune
