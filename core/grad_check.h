#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attune/core/tensor.h"

namespace attune {

struct GradCheckOptions {
  /// An element x moves by step * max(1, |x|) to either side. The quotient's own error is about
  /// step^2 (third derivative) plus 1e-16 / step (rounding).
  double step = 1e-5;
  /// An element passes if |analytic - numeric| <= absolute + relative * max(|analytic|, |numeric|).
  double absolute_tolerance = 1e-8;
  double relative_tolerance = 1e-6;
  /// Picks the random projection.
  std::uint64_t seed = 0;
};

struct GradCheckResult {
  /// Every element of every input passes. NaN does not.
  bool ok = false;
  double max_absolute_error = 0;
  double max_relative_error = 0;  ///< error / max(|analytic|, |numeric|); 0 where both are 0
  /// The element that comes closest to failing, or fails most: number of the input, position in it,
  /// and its two derivatives.
  std::size_t input = 0;
  std::int64_t element = 0;
  double analytic = 0;
  double numeric = 0;
  /// All of this in a sentence.
  std::string message;
};

/// Compares the gradients that backward() computes for y = f(inputs) with central differences.
///
/// The scalar that is differentiated is <y, v> for a fixed random v, not the sum of y: some sums
/// have no gradient whatever the operation does (that of a normalised batch is constant).
///
/// Inputs must be float64 on a device with elements; undefined ones are passed on and not checked.
/// They are changed in place while f runs and then put back, so that they may be the parameters of
/// a layer that `f` calls; an input that requires gradients must be a leaf, and keeps the gradient
/// it had. `f` must be deterministic (give dropout a new generator each time), and smooth at its
/// inputs: a ReLU's kink within a step of one is not an error of the gradient, but looks like one.
///
/// Throws Error if f's output is not float64, or differs between two calls with the same inputs.
GradCheckResult grad_check(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                           const std::vector<Tensor>& inputs, const GradCheckOptions& options = {});

}  // namespace attune
