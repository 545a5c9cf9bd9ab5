#include "attune/kernels/elementwise.h"

#include "attune/kernels/cpu/elementwise.h"
#include "attune/kernels/cuda/elementwise.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void unary(Device device, UnaryOp op, T* y, const T* x, std::int64_t count) {
  dispatch(
      device, "unary", [&] { cpu::unary(op, y, x, count); }, [&] { cuda::unary(op, y, x, count); });
}

template <typename T>
void power(Device device, T* y, const T* x, T exponent, std::int64_t count) {
  dispatch(
      device, "power", [&] { cpu::power(y, x, exponent, count); },
      [&] { cuda::power(y, x, exponent, count); });
}

template <typename T>
void binary(Device device, BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape) {
  dispatch(
      device, "binary", [&] { cpu::binary(op, y, a, b, shape); },
      [&] { cuda::binary(op, y, a, b, shape); });
}

template <typename T>
void compare(Device device, CompareOp op, std::uint8_t* y, const T* a, const T* b,
             const StridedShape& shape) {
  dispatch(
      device, "compare", [&] { cpu::compare(op, y, a, b, shape); },
      [&] { cuda::compare(op, y, a, b, shape); });
}

template <typename T>
void copy_strided(Device device, T* y, const T* x, const StridedShape& shape) {
  dispatch(
      device, "copy_strided", [&] { cpu::copy_strided(y, x, shape); },
      [&] { cuda::copy_strided(y, x, shape); });
}

template <typename T>
void scatter_strided(Device device, T* y, const T* x, const StridedShape& shape, bool accumulate) {
  dispatch(
      device, "scatter_strided", [&] { cpu::scatter_strided(y, x, shape, accumulate); },
      [&] { cuda::scatter_strided(y, x, shape, accumulate); });
}

template <typename T>
void clamp(Device device, T* y, const T* x, T low, T high, std::int64_t count) {
  dispatch(
      device, "clamp", [&] { cpu::clamp(y, x, low, high, count); },
      [&] { cuda::clamp(y, x, low, high, count); });
}

template <typename T>
void fill(Device device, T* y, T value, std::int64_t count) {
  dispatch(
      device, "fill", [&] { cpu::fill(y, value, count); }, [&] { cuda::fill(y, value, count); });
}

template <typename T>
void axpy(Device device, T* y, T alpha, const T* x, std::int64_t count) {
  dispatch(
      device, "axpy", [&] { cpu::axpy(y, alpha, x, count); },
      [&] { cuda::axpy(y, alpha, x, count); });
}

template <typename T>
void scale(Device device, T* y, T alpha, std::int64_t count) {
  dispatch(
      device, "scale", [&] { cpu::scale(y, alpha, count); }, [&] { cuda::scale(y, alpha, count); });
}

void round_to_bfloat16(Device device, std::uint16_t* y, const float* x, std::int64_t count) {
  dispatch(
      device, "round_to_bfloat16", [&] { cpu::round_to_bfloat16(y, x, count); },
      [&] { cuda::round_to_bfloat16(y, x, count); });
}

void widen_bfloat16(Device device, float* y, const std::uint16_t* x, std::int64_t count) {
  dispatch(
      device, "widen_bfloat16", [&] { cpu::widen_bfloat16(y, x, count); },
      [&] { cuda::widen_bfloat16(y, x, count); });
}

void increment(Device device, std::int64_t* y) {
  dispatch(
      device, "increment", [&] { ++*y; }, [&] { cuda::increment(y); });
}

template <typename T>
void relu_backward(Device device, T* dx, const T* dy, const T* relu_output, std::int64_t count,
                   bool accumulate) {
  dispatch(
      device, "relu_backward", [&] { cpu::relu_backward(dx, dy, relu_output, count, accumulate); },
      [&] { cuda::relu_backward(dx, dy, relu_output, count, accumulate); });
}

template <typename T>
void clamp_backward(Device device, T* dx, const T* dy, const T* y, T low, T high,
                    std::int64_t count, bool accumulate) {
  dispatch(
      device, "clamp_backward",
      [&] { cpu::clamp_backward(dx, dy, y, low, high, count, accumulate); },
      [&] { cuda::clamp_backward(dx, dy, y, low, high, count, accumulate); });
}

template void unary(Device, UnaryOp, float*, const float*, std::int64_t);
template void unary(Device, UnaryOp, double*, const double*, std::int64_t);
template void power(Device, float*, const float*, float, std::int64_t);
template void power(Device, double*, const double*, double, std::int64_t);
template void binary(Device, BinaryOp, float*, const float*, const float*, const StridedShape&);
template void binary(Device, BinaryOp, double*, const double*, const double*, const StridedShape&);
template void compare(Device, CompareOp, std::uint8_t*, const float*, const float*,
                      const StridedShape&);
template void compare(Device, CompareOp, std::uint8_t*, const double*, const double*,
                      const StridedShape&);
template void compare(Device, CompareOp, std::uint8_t*, const std::int64_t*, const std::int64_t*,
                      const StridedShape&);
template void compare(Device, CompareOp, std::uint8_t*, const std::uint8_t*, const std::uint8_t*,
                      const StridedShape&);
template void copy_strided(Device, float*, const float*, const StridedShape&);
template void copy_strided(Device, double*, const double*, const StridedShape&);
template void copy_strided(Device, std::int64_t*, const std::int64_t*, const StridedShape&);
template void copy_strided(Device, std::uint8_t*, const std::uint8_t*, const StridedShape&);
template void scatter_strided(Device, float*, const float*, const StridedShape&, bool);
template void scatter_strided(Device, double*, const double*, const StridedShape&, bool);
template void scatter_strided(Device, std::int64_t*, const std::int64_t*, const StridedShape&,
                              bool);
template void scatter_strided(Device, std::uint8_t*, const std::uint8_t*, const StridedShape&,
                              bool);
template void clamp(Device, float*, const float*, float, float, std::int64_t);
template void clamp(Device, double*, const double*, double, double, std::int64_t);
template void fill(Device, float*, float, std::int64_t);
template void fill(Device, double*, double, std::int64_t);
template void fill(Device, std::int64_t*, std::int64_t, std::int64_t);
template void fill(Device, std::uint8_t*, std::uint8_t, std::int64_t);
template void axpy(Device, float*, float, const float*, std::int64_t);
template void axpy(Device, double*, double, const double*, std::int64_t);
template void scale(Device, float*, float, std::int64_t);
template void scale(Device, double*, double, std::int64_t);
template void relu_backward(Device, float*, const float*, const float*, std::int64_t, bool);
template void relu_backward(Device, double*, const double*, const double*, std::int64_t, bool);
template void clamp_backward(Device, float*, const float*, const float*, float, float, std::int64_t,
                             bool);
template void clamp_backward(Device, double*, const double*, const double*, double, double,
                             std::int64_t, bool);

}  // namespace attune::kernels
