#pragma once

#include "attune/core/random.h"
#include "attune/core/tensor.h"

namespace attune {

/// Sets each element to zero with probability p in [0, 1) and multiplies the others by 1 / (1 - p)
/// (Srivastava et al., JMLR 2014, in the inverted form, so that evaluation does nothing). Which
/// ones is a function of the generator's seed, its next stream and the element's number alone, so
/// nothing is kept: backward draws the same numbers again.
Tensor dropout(const Tensor& x, double p, Generator& generator = default_generator());

}  // namespace attune
