#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cuda_precision.h"

// Convolution on the tensor cores, for one group. Inputs are rounded to `precision`, tf32 or bf16,
// when they are multiplied; sums and everything else are floats. Contracts:
// attune/kernels/conv2d.h.
namespace attune::kernels::cuda::mma {

void conv2d_forward(CudaPrecision precision, float* y, const float* x, const float* w,
                    const Conv2dShape& shape, const Conv2dEpilogue<float>& epilogue);

void conv2d_backward_input(CudaPrecision precision, float* dx, const float* dy, const float* w,
                           const Conv2dShape& shape, const Conv2dEpilogue<float>& epilogue);

void conv2d_backward_weight(CudaPrecision precision, float* dw, const float* x, const float* dy,
                            const Conv2dShape& shape, bool accumulate,
                            const Conv2dBiasGradient<float>& bias);

}  // namespace attune::kernels::cuda::mma
