#pragma once

#include "attune/kernels/conv2d.h"

// Convolution on the ordinary arithmetic units, in exact single precision: any stride, padding,
// dilation and number of groups. Contracts: attune/kernels/conv2d.h.
namespace attune::kernels::cuda::simt {

void conv2d_forward(float* y, const float* x, const float* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<float>& epilogue);

void conv2d_backward_input(float* dx, const float* dy, const float* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<float>& epilogue);

void conv2d_backward_weight(float* dw, const float* x, const float* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<float>& bias);

}  // namespace attune::kernels::cuda::simt
