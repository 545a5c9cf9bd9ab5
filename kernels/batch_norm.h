#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

// Batch normalisation of activations seen as [pixels, channels], pixels = N * H * W. Letters as in
// Ioffe and Szegedy (arXiv 1502.03167): gamma, beta the affine map; mean and var the statistics;
// rstd = 1 / sqrt(var + eps). A null `gamma` means ones, a null `beta` zeros.

/// Statistics of y [pixels, channels] per channel: the mean, and the biased variance (divided by
/// the number of pixels, of which there must be at least one). Squared deviations are accumulated
/// in double over fixed slices of pixels and merged by Chan's formula, so that |mean| >> sigma
/// costs no digits and the result does not depend on the number of threads.
template <typename T>
void batch_norm_statistics(Device device, T* mean, T* var, const T* y, std::int64_t pixels,
                           std::int64_t channels);

/// Moves running statistics towards those of a batch, as PyTorch does: `momentum` weighs the new
/// value, and the running variance takes the unbiased estimate var * pixels / (pixels - 1), which
/// needs at least two pixels.
template <typename T>
void batch_norm_update_running(Device device, T* running_mean, T* running_var, const T* mean,
                               const T* var, std::int64_t pixels, std::int64_t channels,
                               T momentum);

/// rstd [channels] = 1 / sqrt(var + eps).
template <typename T>
void batch_norm_rstd(Device device, T* rstd, const T* var, std::int64_t channels, T eps);

/// z = (y - mean) * rstd * gamma + beta, then + residual, then ReLU, in one pass over y
/// [pixels, channels]. The forward pass of Train (batch statistics) and of Eval (running
/// statistics) alike. `z` may be `y`; `residual` (null: none) has y's shape.
template <typename T>
void batch_norm_forward(Device device, T* z, const T* y, const T* mean, const T* rstd,
                        const T* gamma, const T* beta, const T* residual, bool relu,
                        std::int64_t pixels, std::int64_t channels);

/// Per-channel sums that both backward passes need:
///
///     sum_dz[c] = sum of dz over the pixels
///     sum_dz_yhat[c] = sum of dz * yhat, with yhat = (y - mean) * rstd
///
/// They are the gradients of beta and gamma. `sum_dz_yhat` may be null: then `y`, `mean` and
/// `rstd` are not read and may be null as well.
template <typename T>
void batch_norm_backward_reduce(Device device, T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y,
                                const T* mean, const T* rstd, std::int64_t pixels,
                                std::int64_t channels);

/// Train: dy = gamma * rstd * (dz - (sum_dz + yhat * sum_dz_yhat) / pixels), overwriting dy, which
/// may be dz. The statistics depend on y: their gradient is the part in parentheses.
template <typename T>
void batch_norm_backward_train(Device device, T* dy, const T* dz, const T* y, const T* mean,
                               const T* rstd, const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels);

/// Eval: dy = gamma * rstd * dz, overwriting dy, which may be dz. The statistics are constants.
template <typename T>
void batch_norm_backward_eval(Device device, T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels);

}  // namespace attune::kernels
