#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/prepared_filter.h"

// Depthwise convolution: C = K = groups, one filter [R, S] a channel. Contracts:
// attune/kernels/conv2d.h.
namespace attune::kernels::cpu::ATTUNE_ISA {

template <typename T>
void depthwise_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                       const Conv2dEpilogue<T>& epilogue);

template <typename T>
void depthwise_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                              const Conv2dEpilogue<T>& epilogue);

template <typename T>
void depthwise_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                               bool accumulate, double* dy_sums);

}  // namespace attune::kernels::cpu::ATTUNE_ISA
