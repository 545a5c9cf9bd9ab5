#include "attune/kernels/cuda/conv2d.h"

#include <algorithm>
#include <type_traits>

#include "attune/kernels/cuda/conv2d_mma.h"
#include "attune/kernels/cuda/conv2d_naive.h"
#include "attune/kernels/cuda/conv2d_simt.h"
#include "attune/kernels/cuda/reduce.h"
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

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  if constexpr (std::is_same_v<T, float>) {
    if (on_tensor_cores(shape)) {
      return mma::conv2d_forward(cuda_precision(), y, x, w, shape, epilogue);
    }
    if (!has_narrow_groups(shape)) return simt::conv2d_forward(y, x, w, shape, epilogue);
  }
  naive::conv2d_forward(y, x, w, shape, epilogue);
}

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  if constexpr (std::is_same_v<T, float>) {
    if (on_tensor_cores(shape)) {
      return mma::conv2d_backward_input(cuda_precision(), dx, dy, w, shape, epilogue);
    }
    if (!has_narrow_groups(shape)) return simt::conv2d_backward_input(dx, dy, w, shape, epilogue);
  }
  naive::conv2d_backward_input(dx, dy, w, shape, epilogue);
}

template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias) {
  if constexpr (std::is_same_v<T, float>) {
    if (on_tensor_cores(shape)) {
      return mma::conv2d_backward_weight(cuda_precision(), dw, x, dy, shape, accumulate, bias);
    }
    simt::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
  } else {
    naive::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
  }
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
  reduce_sum(db, dy, 1, pixels, channels, T(1), accumulate);
}

template void conv2d_forward(float*, const float*, const float*, const Conv2dShape&,
                             const Conv2dEpilogue<float>&);
template void conv2d_forward(double*, const double*, const double*, const Conv2dShape&,
                             const Conv2dEpilogue<double>&);
template void conv2d_backward_input(float*, const float*, const float*, const Conv2dShape&,
                                    const Conv2dEpilogue<float>&);
template void conv2d_backward_input(double*, const double*, const double*, const Conv2dShape&,
                                    const Conv2dEpilogue<double>&);
template void conv2d_backward_weight(float*, const float*, const float*, const Conv2dShape&, bool,
                                     const Conv2dBiasGradient<float>&);
template void conv2d_backward_weight(double*, const double*, const double*, const Conv2dShape&,
                                     bool, const Conv2dBiasGradient<double>&);
template void conv2d_backward(float*, float*, const float*, const float*, const float*,
                              const Conv2dShape&, const Conv2dEpilogue<float>&, bool,
                              const Conv2dBiasGradient<float>&);
template void conv2d_backward(double*, double*, const double*, const double*, const double*,
                              const Conv2dShape&, const Conv2dEpilogue<double>&, bool,
                              const Conv2dBiasGradient<double>&);
template void conv2d_backward_bias(float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace attune::kernels::cuda
