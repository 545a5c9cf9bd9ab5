#pragma once

#include "attune/kernels/pool.h"

// Contracts: attune/kernels/pool.h.
namespace attune::kernels::cuda {

template <typename T>
void max_pool2d_forward(T* y, std::uint8_t* argmax, const T* x, const Pool2dShape& shape);

template <typename T>
void max_pool2d_backward(T* dx, const T* dy, const std::uint8_t* argmax, const Pool2dShape& shape,
                         bool accumulate);

template <typename T>
void avg_pool2d_forward(T* y, const T* x, const Pool2dShape& shape);

template <typename T>
void avg_pool2d_backward(T* dx, const T* dy, const Pool2dShape& shape, bool accumulate);

template <typename T>
void global_avg_pool_forward(T* y, const T* x, std::int64_t n, std::int64_t pixels, std::int64_t c);

template <typename T>
void global_avg_pool_backward(T* dx, const T* dy, std::int64_t n, std::int64_t pixels,
                              std::int64_t c, bool accumulate, const T* mask);

}  // namespace attune::kernels::cuda
