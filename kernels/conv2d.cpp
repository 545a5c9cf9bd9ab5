#include "attune/kernels/conv2d.h"

#include "attune/kernels/cpu/conv2d.h"
#include "attune/kernels/cuda/conv2d.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void conv2d_forward(Device device, T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue, ContentVersion w_version) {
  dispatch(
      device, "conv2d_forward", [&] { cpu::conv2d_forward(y, x, w, shape, epilogue, w_version); },
      [&] { cuda::conv2d_forward(y, x, w, shape, epilogue); });
}

template <typename T>
void conv2d_backward_input(Device device, T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue, ContentVersion w_version) {
  dispatch(
      device, "conv2d_backward_input",
      [&] { cpu::conv2d_backward_input(dx, dy, w, shape, epilogue, w_version); },
      [&] { cuda::conv2d_backward_input(dx, dy, w, shape, epilogue); });
}

template <typename T>
void conv2d_backward_weight(Device device, T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias) {
  dispatch(
      device, "conv2d_backward_weight",
      [&] { cpu::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias); },
      [&] { cuda::conv2d_backward_weight(dw, x, dy, shape, accumulate, bias); });
}

template <typename T>
void conv2d_backward(Device device, T* dx, T* dw, const T* x, const T* dy, const T* w,
                     const Conv2dShape& shape, const Conv2dEpilogue<T>& epilogue, bool accumulate,
                     const Conv2dBiasGradient<T>& bias) {
  dispatch(
      device, "conv2d_backward",
      [&] { cpu::conv2d_backward(dx, dw, x, dy, w, shape, epilogue, accumulate, bias); },
      [&] { cuda::conv2d_backward(dx, dw, x, dy, w, shape, epilogue, accumulate, bias); });
}

template <typename T>
void conv2d_backward_bias(Device device, T* db, const T* dy, std::int64_t pixels,
                          std::int64_t channels, bool accumulate) {
  dispatch(
      device, "conv2d_backward_bias",
      [&] { cpu::conv2d_backward_bias(db, dy, pixels, channels, accumulate); },
      [&] { cuda::conv2d_backward_bias(db, dy, pixels, channels, accumulate); });
}

template void conv2d_forward(Device, float*, const float*, const float*, const Conv2dShape&,
                             const Conv2dEpilogue<float>&, ContentVersion);
template void conv2d_forward(Device, double*, const double*, const double*, const Conv2dShape&,
                             const Conv2dEpilogue<double>&, ContentVersion);
template void conv2d_backward_input(Device, float*, const float*, const float*, const Conv2dShape&,
                                    const Conv2dEpilogue<float>&, ContentVersion);
template void conv2d_backward_input(Device, double*, const double*, const double*,
                                    const Conv2dShape&, const Conv2dEpilogue<double>&,
                                    ContentVersion);
template void conv2d_backward_weight(Device, float*, const float*, const float*, const Conv2dShape&,
                                     bool, const Conv2dBiasGradient<float>&);
template void conv2d_backward_weight(Device, double*, const double*, const double*,
                                     const Conv2dShape&, bool, const Conv2dBiasGradient<double>&);
template void conv2d_backward(Device, float*, float*, const float*, const float*, const float*,
                              const Conv2dShape&, const Conv2dEpilogue<float>&, bool,
                              const Conv2dBiasGradient<float>&);
template void conv2d_backward(Device, double*, double*, const double*, const double*, const double*,
                              const Conv2dShape&, const Conv2dEpilogue<double>&, bool,
                              const Conv2dBiasGradient<double>&);
template void conv2d_backward_bias(Device, float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(Device, double*, const double*, std::int64_t, std::int64_t,
                                   bool);

}  // namespace attune::kernels
