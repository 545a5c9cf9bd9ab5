#pragma once

#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"

namespace attune {

/// Joins tensors, equal in all extents but that of `axis`, along `axis`. Any dtype. Keeps nothing
/// for backward.
Tensor concatenate(const std::vector<Tensor>& parts, std::int64_t axis);

}  // namespace attune
