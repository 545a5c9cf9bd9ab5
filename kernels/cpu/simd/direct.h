#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/prepared_filter.h"

// Any convolution but depthwise ones. Contracts: attune/kernels/conv2d.h.
namespace attune::kernels::cpu::ATTUNE_ISA {

template <typename T>
void direct_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue);

template <typename T>
void direct_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue);

template <typename T>
void direct_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, double* dy_sums);

}  // namespace attune::kernels::cpu::ATTUNE_ISA
