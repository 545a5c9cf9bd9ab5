#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

/// C [m, n] = op(A) op(B), row-major, op(A) [m, k] and op(B) [k, n]; `transpose_a` says that A is
/// stored as [k, m], `transpose_b` that B is stored as [n, k]. Added to what C holds if
/// `accumulate`. C overlaps neither input.
template <typename T>
void gemm(Device device, T* c, const T* a, const T* b, std::int64_t m, std::int64_t n,
          std::int64_t k, bool transpose_a, bool transpose_b, bool accumulate = false);

}  // namespace attune::kernels
