#pragma once

#include "attune/kernels/conv2d.h"

// Convolution without any art, for float and double. Contracts: attune/kernels/conv2d.h.
namespace attune::kernels::cuda::naive {

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue);

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue);

template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias);

}  // namespace attune::kernels::cuda::naive
