#pragma once

#include <cstdint>

#include "attune/core/tensor.h"

namespace attune {

/// The part of x with begin <= index < end along `axis`; negative bounds count from the end. Copies
/// the elements; any dtype. Keeps nothing for backward.
Tensor slice(const Tensor& x, std::int64_t axis, std::int64_t begin, std::int64_t end);

}  // namespace attune
