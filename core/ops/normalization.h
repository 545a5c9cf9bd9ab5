#pragma once

#include "attune/core/tensor.h"

// The passes of batch normalisation on tensors; what batch_norm and conv_bn are built from.

namespace attune {

/// Mean [C] and 1 / sqrt(var + eps) [C] by which a batch is normalised.
struct ChannelStatistics {
  Tensor mean;
  Tensor rstd;
};

/// Mean [C] and biased variance [C] of a batch y [..., C], for somebody to fill in.
struct BatchStatistics {
  Tensor mean, var;
  std::int64_t pixels = 0;

  /// Throws Error, beginning with `op`, if y has too few values a channel for a variance.
  BatchStatistics(const char* op, const Tensor& y);
  /// Computes them.
  void take(const Tensor& y);
  /// Moves the running statistics, unless undefined, towards these, which then become normalising
  /// ones.
  ChannelStatistics finish(Tensor running_mean, Tensor running_var, double momentum, double eps);
};

/// Running statistics as normalising ones.
ChannelStatistics running_statistics(const Tensor& running_mean, const Tensor& running_var,
                                     double eps);

/// z = (y - mean) * rstd * gamma + beta + residual, then ReLU. `z` may be `y`.
void normalize(Tensor& z, const Tensor& y, const ChannelStatistics& statistics, const Tensor& gamma,
               const Tensor& beta, const Tensor& residual, bool relu);

/// Which gradients are wanted, and whether the statistics are functions of y (Train) or constants
/// (Eval).
struct NormalizeBackward {
  bool batch_statistics = false;
  bool want_y = false, want_gamma = false, want_beta = false;

  struct Gradients {
    Tensor y, gamma, beta;  ///< undefined where not wanted
  };
  /// Gradients from dz, the one behind the normalisation. Overwrites dz if nobody else holds it.
  /// `y` is needed for gamma's gradient, and for y's own in Train.
  Gradients operator()(Tensor dz, const Tensor& y, const ChannelStatistics& statistics,
                       const Tensor& gamma) const;
};

/// Throws Error, beginning with `op`, unless every defined tensor is [channels] and goes with `x`.
void check_channel_vectors(const char* op, const Tensor& x, std::int64_t channels,
                           std::initializer_list<const Tensor*> vectors);

}  // namespace attune
