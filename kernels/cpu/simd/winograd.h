#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/prepared_filter.h"

// 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications, and
// about ten times the rounding error, of the direct ones. Contracts: attune/kernels/conv2d.h.
namespace attune::kernels::cpu::ATTUNE_ISA {

template <typename T>
void winograd_forward(T* y, const T* x, const Filter<T>& w, const Conv2dShape& shape,
                      const Conv2dEpilogue<T>& epilogue);

template <typename T>
void winograd_backward_input(T* dx, const T* dy, const Filter<T>& w, const Conv2dShape& shape,
                             const Conv2dEpilogue<T>& epilogue);

template <typename T>
void winograd_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                              bool accumulate, double* dy_sums);

/// Both gradients in one sweep; for convolutions whose output is as large as their input.
template <typename T>
void winograd_backward(T* dx, T* dw, const T* x, const T* dy, const T* w, const Conv2dShape& shape,
                       const Conv2dEpilogue<T>& epilogue, bool accumulate, double* dy_sums);

}  // namespace attune::kernels::cpu::ATTUNE_ISA
