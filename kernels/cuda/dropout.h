#pragma once

#include "attune/kernels/dropout.h"

// Contract: attune/kernels/dropout.h.
namespace attune::kernels::cuda {

template <typename T>
void dropout(T* y, const T* x, std::int64_t count, const DropoutMask& mask);

}  // namespace attune::kernels::cuda
