#include <cmath>

#include "attune/kernels/cuda/elementwise.h"
#include "attune/kernels/cuda/parallel.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels: each is a loop body for for_each() ----

// Where the two operands of element i are read.
struct Offsets {
  std::int64_t a = 0, b = 0;
};

__device__ Offsets offsets_of(const StridedShape& shape, std::int64_t i) {
  Offsets offsets;
  for (int axis = shape.rank - 1; axis >= 0; --axis) {
    const std::int64_t position = i % shape.size[axis];
    offsets.a += position * shape.stride_a[axis];
    offsets.b += position * shape.stride_b[axis];
    i /= shape.size[axis];
  }
  return offsets;
}

// y[i] = f(x[i]).
template <typename T, typename F>
void map(T* y, const T* x, std::int64_t count, F f) {
  for_each(count, [=] __device__(std::int64_t i) { y[i] = f(x[i]); });
}

// y = f(a, b), both broadcast.
template <typename R, typename T, typename F>
void map_broadcast(R* y, const T* a, const T* b, const StridedShape& shape, F f) {
  for_each(shape.count(), [=] __device__(std::int64_t i) {
    const Offsets offsets = offsets_of(shape, i);
    y[i] = static_cast<R>(f(a[offsets.a], b[offsets.b]));
  });
}

}  // namespace

// ---- launchers ----

template <typename T>
void unary(UnaryOp op, T* y, const T* x, std::int64_t count) {
  switch (op) {
    case UnaryOp::negate:
      return map(y, x, count, [] __device__(T v) { return -v; });
    case UnaryOp::exp:
      return map(y, x, count, [] __device__(T v) { return std::exp(v); });
    case UnaryOp::log:
      return map(y, x, count, [] __device__(T v) { return std::log(v); });
    case UnaryOp::sqrt:
      return map(y, x, count, [] __device__(T v) { return std::sqrt(v); });
    case UnaryOp::abs:
      return map(y, x, count, [] __device__(T v) { return std::abs(v); });
    case UnaryOp::relu:  // in this form NaN stays NaN
      return map(y, x, count, [] __device__(T v) { return v < 0 ? T(0) : v; });
    case UnaryOp::sigmoid:
      return map(y, x, count, [] __device__(T v) { return 1 / (1 + std::exp(-v)); });
    case UnaryOp::tanh:
      return map(y, x, count, [] __device__(T v) { return std::tanh(v); });
    case UnaryOp::sign:
      return map(y, x, count, [] __device__(T v) { return v > 0 ? T(1) : v < 0 ? T(-1) : v; });
    case UnaryOp::reciprocal:
      return map(y, x, count, [] __device__(T v) { return 1 / v; });
  }
}

template <typename T>
void power(T* y, const T* x, T exponent, std::int64_t count) {
  if (exponent == 2) return map(y, x, count, [] __device__(T v) { return v * v; });
  map(y, x, count, [=] __device__(T v) { return std::pow(v, exponent); });
}

template <typename T>
void binary(BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape) {
  switch (op) {
    case BinaryOp::add:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l + r; });
    case BinaryOp::subtract:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l - r; });
    case BinaryOp::multiply:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l * r; });
    case BinaryOp::divide:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l / r; });
  }
}

template <typename T>
void compare(CompareOp op, std::uint8_t* y, const T* a, const T* b, const StridedShape& shape) {
  switch (op) {
    case CompareOp::equal:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l == r; });
    case CompareOp::not_equal:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l != r; });
    case CompareOp::less:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l < r; });
    case CompareOp::less_equal:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l <= r; });
    case CompareOp::greater:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l > r; });
    case CompareOp::greater_equal:
      return map_broadcast(y, a, b, shape, [] __device__(T l, T r) { return l >= r; });
  }
}

template <typename T>
void copy_strided(T* y, const T* x, const StridedShape& shape) {
  for_each(shape.count(), [=] __device__(std::int64_t i) { y[i] = x[offsets_of(shape, i).a]; });
}

template <typename T>
void scatter_strided(T* y, const T* x, const StridedShape& shape, bool accumulate) {
  for_each(shape.count(), [=] __device__(std::int64_t i) {
    T& target = y[offsets_of(shape, i).a];
    target = accumulate ? static_cast<T>(target + x[i]) : x[i];
  });
}

template <typename T>
void clamp(T* y, const T* x, T low, T high, std::int64_t count) {
  map(y, x, count, [=] __device__(T v) { return v < low ? low : v > high ? high : v; });
}

template <typename T>
void fill(T* y, T value, std::int64_t count) {
  for_each(count, [=] __device__(std::int64_t i) { y[i] = value; });
}

template <typename T>
void axpy(T* y, T alpha, const T* x, std::int64_t count) {
  for_each(count, [=] __device__(std::int64_t i) { y[i] += alpha * x[i]; });
}

template <typename T>
void scale(T* y, T alpha, std::int64_t count) {
  for_each(count, [=] __device__(std::int64_t i) { y[i] *= alpha; });
}

template <typename T>
void clamp_backward(T* dx, const T* dy, const T* y, T low, T high, std::int64_t count,
                    bool accumulate) {
  for_each(count, [=] __device__(std::int64_t i) {
    const T gradient = y[i] > low && y[i] < high ? dy[i] : T(0);
    dx[i] = accumulate ? dx[i] + gradient : gradient;
  });
}

void round_to_bfloat16(std::uint16_t* y, const float* x, std::int64_t count) {
  for_each(count, [=] __device__(std::int64_t i) {
    const unsigned bits = __float_as_uint(x[i]), magnitude = bits & 0x7fffffffU;
    const unsigned upper = bits >> 16, nearest = (bits + 0x7fffU + (upper & 1U)) >> 16;
    const unsigned vanished = magnitude > 0 && magnitude <= 0x8000U ? 1 : 0;
    const bool is_nan = magnitude > 0x7f800000U;  // whose payload may be in the lower half alone
    y[i] = static_cast<std::uint16_t>(is_nan ? upper | 0x40U : nearest | vanished);
  });
}

void widen_bfloat16(float* y, const std::uint16_t* x, std::int64_t count) {
  for_each(count, [=] __device__(std::int64_t i) {
    y[i] = __uint_as_float(static_cast<unsigned>(x[i]) << 16);
  });
}

void increment(std::int64_t* y) {
  for_each(1, [=] __device__(std::int64_t i) { ++y[i]; });
}

template <typename T>
void relu_backward(T* dx, const T* dy, const T* relu_output, std::int64_t count, bool accumulate) {
  for_each(count, [=] __device__(std::int64_t i) {
    const T gradient = relu_output[i] > 0 ? dy[i] : T(0);
    dx[i] = accumulate ? dx[i] + gradient : gradient;
  });
}

template void unary(UnaryOp, float*, const float*, std::int64_t);
template void unary(UnaryOp, double*, const double*, std::int64_t);
template void power(float*, const float*, float, std::int64_t);
template void power(double*, const double*, double, std::int64_t);
template void binary(BinaryOp, float*, const float*, const float*, const StridedShape&);
template void binary(BinaryOp, double*, const double*, const double*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const float*, const float*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const double*, const double*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const std::int64_t*, const std::int64_t*,
                      const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const std::uint8_t*, const std::uint8_t*,
                      const StridedShape&);
template void copy_strided(float*, const float*, const StridedShape&);
template void copy_strided(double*, const double*, const StridedShape&);
template void copy_strided(std::int64_t*, const std::int64_t*, const StridedShape&);
template void copy_strided(std::uint8_t*, const std::uint8_t*, const StridedShape&);
template void scatter_strided(float*, const float*, const StridedShape&, bool);
template void scatter_strided(double*, const double*, const StridedShape&, bool);
template void scatter_strided(std::int64_t*, const std::int64_t*, const StridedShape&, bool);
template void scatter_strided(std::uint8_t*, const std::uint8_t*, const StridedShape&, bool);
template void clamp(float*, const float*, float, float, std::int64_t);
template void clamp(double*, const double*, double, double, std::int64_t);
template void fill(float*, float, std::int64_t);
template void fill(double*, double, std::int64_t);
template void fill(std::int64_t*, std::int64_t, std::int64_t);
template void fill(std::uint8_t*, std::uint8_t, std::int64_t);
template void axpy(float*, float, const float*, std::int64_t);
template void axpy(double*, double, const double*, std::int64_t);
template void scale(float*, float, std::int64_t);
template void scale(double*, double, std::int64_t);
template void relu_backward(float*, const float*, const float*, std::int64_t, bool);
template void relu_backward(double*, const double*, const double*, std::int64_t, bool);

template void clamp_backward(float*, const float*, const float*, float, float, std::int64_t, bool);
template void clamp_backward(double*, const double*, const double*, double, double, std::int64_t,
                             bool);

}  // namespace attune::kernels::cuda
