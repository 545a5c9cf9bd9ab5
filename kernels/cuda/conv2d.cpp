#include "attune/kernels/cuda/conv2d.h"

#include <algorithm>

#include "attune/kernels/cuda/conv2d_mma.h"
#include "attune/kernels/cuda/conv2d_naive.h"
#include "attune/kernels/cuda/conv2d_simt.h"
#include "attune/kernels/cuda_precision.h"

// Which step of the ladder takes which convolution. Doubles are for checks of gradients, and take
// the first.
namespace attune::kernels::cuda {
namespace {

/// Groups that would leave most of the narrowest tile empty, depthwise ones above all.
bool has_narrow_groups(const Conv2dShape& shape) {
  return shape.groups > 1 && std::min(shape.channels_per_group(), shape.filters_per_group()) < 4;
}

bool on_tensor_cores(const Conv2dShape& shape) {
  return shape.groups == 1 && cuda_precision() != CudaPrecision::fp32;
}

}  // namespace

template <>
void conv2d_forward(float* y, const float* x, const float* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<float>& epilogue) {
  if (on_tensor_cores(shape)) {
    mma::conv2d_forward(cuda_precision(), y, x, w, shape, epilogue);
  } else if (has_narrow_groups(shape)) {
    naive::conv2d_forward(y, x, w, shape, epilogue);
  } else {
    simt::conv2d_forward(y, x, w, shape, epilogue);
  }
}

template <>
void conv2d_forward(double* y, const double* x, const double* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<double>& epilogue) {
  naive::conv2d_forward(y, x, w, shape, epilogue);
}

template <>
void conv2d_backward_input(float* dx, const float* dy, const float* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<float>& epilogue) {
  if (on_tensor_cores(shape)) {
    mma::conv2d_backward_input(cuda_precision(), dx, dy, w, shape, epilogue);
  } else if (has_narrow_groups(shape)) {
    naive::conv2d_backward_input(dx, dy, w, shape, epilogue);
  } else {
    simt::conv2d_backward_input(dx, dy, w, shape, epilogue);
  }
}

template <>
void conv2d_backward_input(double* dx, const double* dy, const double* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<double>& epilogue) {
  naive::conv2d_backward_input(dx, dy, w, shape, epilogue);
}

template <>
void conv2d_backward_weight(float* dw, const float* x, const float* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<float>& bias) {
  if (on_tensor_cores(shape)) {
    mma::conv2d_backward_weight(cuda_precision(), dw, x, dy, shape, accumulate, bias);
  } else {
    simt::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
  }
}

template <>
void conv2d_backward_weight(double* dw, const double* x, const double* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<double>& bias) {
  naive::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
}

template <typename T>
void conv2d_backward(T* dx, T* dw, const T* x, const T* dy, const T* w, const Conv2dShape& shape,
                     const Conv2dEpilogue<T>& epilogue, bool accumulate,
                     const Conv2dBiasGradient<T>& bias) {
  conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
  conv2d_backward_input(dx, dy, w, shape, epilogue);
}

template <typename T>
void conv2d_backward_bias(T* db, const T* dy, std::int64_t pixels, std::int64_t channels,
                          bool accumulate) {
  naive::conv2d_backward_bias(db, dy, pixels, channels, accumulate);
}

template void conv2d_backward(float*, float*, const float*, const float*, const float*,
                              const Conv2dShape&, const Conv2dEpilogue<float>&, bool,
                              const Conv2dBiasGradient<float>&);
template void conv2d_backward(double*, double*, const double*, const double*, const double*,
                              const Conv2dShape&, const Conv2dEpilogue<double>&, bool,
                              const Conv2dBiasGradient<double>&);
template void conv2d_backward_bias(float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace attune::kernels::cuda
