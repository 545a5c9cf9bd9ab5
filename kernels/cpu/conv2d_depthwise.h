#pragma once

#include "attune/kernels/conv2d.h"

// Depthwise convolution: C = K = groups, one filter [R, S] a channel. A matrix product a group
// would have one row and one column; instead these kernels run along the channels, which are
// neighbours in memory. Contracts: attune/kernels/conv2d.h.
namespace attune::kernels::cpu {

inline bool is_depthwise(const Conv2dShape& shape) {
  return shape.groups > 1 && shape.c == shape.groups && shape.k == shape.groups;
}

template <typename T>
void conv2d_depthwise_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                              const Conv2dEpilogue<T>& epilogue);

template <typename T>
void conv2d_depthwise_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                                     const Conv2dEpilogue<T>& epilogue);

template <typename T>
void conv2d_depthwise_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                                      bool accumulate);

}  // namespace attune::kernels::cpu
