#include "attune/kernels/pool.h"

#include "attune/kernels/cpu/pool.h"
#include "attune/kernels/cuda/pool.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void max_pool2d_forward(Device device, T* y, std::uint8_t* argmax, const T* x,
                        const Pool2dShape& shape) {
  dispatch(
      device, "max_pool2d_forward", [&] { cpu::max_pool2d_forward(y, argmax, x, shape); },
      [&] { cuda::max_pool2d_forward(y, argmax, x, shape); });
}

template <typename T>
void max_pool2d_backward(Device device, T* dx, const T* dy, const std::uint8_t* argmax,
                         const Pool2dShape& shape, bool accumulate) {
  dispatch(
      device, "max_pool2d_backward",
      [&] { cpu::max_pool2d_backward(dx, dy, argmax, shape, accumulate); },
      [&] { cuda::max_pool2d_backward(dx, dy, argmax, shape, accumulate); });
}

template <typename T>
void avg_pool2d_forward(Device device, T* y, const T* x, const Pool2dShape& shape) {
  dispatch(
      device, "avg_pool2d_forward", [&] { cpu::avg_pool2d_forward(y, x, shape); },
      [&] { cuda::avg_pool2d_forward(y, x, shape); });
}

template <typename T>
void avg_pool2d_backward(Device device, T* dx, const T* dy, const Pool2dShape& shape,
                         bool accumulate) {
  dispatch(
      device, "avg_pool2d_backward", [&] { cpu::avg_pool2d_backward(dx, dy, shape, accumulate); },
      [&] { cuda::avg_pool2d_backward(dx, dy, shape, accumulate); });
}

template <typename T>
void global_avg_pool_forward(Device device, T* y, const T* x, std::int64_t n, std::int64_t pixels,
                             std::int64_t c) {
  dispatch(
      device, "global_avg_pool_forward", [&] { cpu::global_avg_pool_forward(y, x, n, pixels, c); },
      [&] { cuda::global_avg_pool_forward(y, x, n, pixels, c); });
}

template <typename T>
void global_avg_pool_backward(Device device, T* dx, const T* dy, std::int64_t n,
                              std::int64_t pixels, std::int64_t c, bool accumulate, const T* mask) {
  dispatch(
      device, "global_avg_pool_backward",
      [&] { cpu::global_avg_pool_backward(dx, dy, n, pixels, c, accumulate, mask); },
      [&] { cuda::global_avg_pool_backward(dx, dy, n, pixels, c, accumulate, mask); });
}

template void max_pool2d_forward(Device, float*, std::uint8_t*, const float*, const Pool2dShape&);
template void max_pool2d_forward(Device, double*, std::uint8_t*, const double*, const Pool2dShape&);
template void max_pool2d_backward(Device, float*, const float*, const std::uint8_t*,
                                  const Pool2dShape&, bool);
template void max_pool2d_backward(Device, double*, const double*, const std::uint8_t*,
                                  const Pool2dShape&, bool);
template void avg_pool2d_forward(Device, float*, const float*, const Pool2dShape&);
template void avg_pool2d_forward(Device, double*, const double*, const Pool2dShape&);
template void avg_pool2d_backward(Device, float*, const float*, const Pool2dShape&, bool);
template void avg_pool2d_backward(Device, double*, const double*, const Pool2dShape&, bool);
template void global_avg_pool_forward(Device, float*, const float*, std::int64_t, std::int64_t,
                                      std::int64_t);
template void global_avg_pool_forward(Device, double*, const double*, std::int64_t, std::int64_t,
                                      std::int64_t);
template void global_avg_pool_backward(Device, float*, const float*, std::int64_t, std::int64_t,
                                       std::int64_t, bool, const float*);
template void global_avg_pool_backward(Device, double*, const double*, std::int64_t, std::int64_t,
                                       std::int64_t, bool, const double*);

}  // namespace attune::kernels
