#pragma once

#include "attune/kernels/gemm.h"

// Contract: attune/kernels/gemm.h.
namespace attune::kernels::cuda {

template <typename T>
void gemm(T* c, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
          bool transpose_a, bool transpose_b, bool accumulate = false);

}  // namespace attune::kernels::cuda
