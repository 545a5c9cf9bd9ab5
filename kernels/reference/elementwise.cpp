#include "attune/kernels/reference/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace attune::kernels::reference {
namespace {

double apply(UnaryOp op, double x) {
  switch (op) {
    case UnaryOp::negate:
      return -x;
    case UnaryOp::exp:
      return std::exp(x);
    case UnaryOp::log:
      return std::log(x);
    case UnaryOp::sqrt:
      return std::sqrt(x);
    case UnaryOp::abs:
      return std::abs(x);
    case UnaryOp::relu:
      return x < 0 ? 0 : x;
    case UnaryOp::sigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryOp::tanh:
      return std::tanh(x);
    case UnaryOp::sign:
      return x > 0 ? 1 : x < 0 ? -1 : x;
    case UnaryOp::reciprocal:
      return 1 / x;
  }
  return x;
}

template <typename T>
T apply(BinaryOp op, T a, T b) {
  switch (op) {
    case BinaryOp::add:
      return a + b;
    case BinaryOp::subtract:
      return a - b;
    case BinaryOp::multiply:
      return a * b;
    case BinaryOp::divide:
      return a / b;
  }
  return a;
}

template <typename T>
bool apply(CompareOp op, T a, T b) {
  switch (op) {
    case CompareOp::equal:
      return a == b;
    case CompareOp::not_equal:
      return a != b;
    case CompareOp::less:
      return a < b;
    case CompareOp::less_equal:
      return a <= b;
    case CompareOp::greater:
      return a > b;
    case CompareOp::greater_equal:
      return a >= b;
  }
  return false;
}

// Where an operand with these strides keeps the element of row-major index `index`.
std::int64_t offset(const StridedShape& shape, const std::array<std::int64_t, kMaxRank>& stride,
                    std::int64_t index) {
  std::int64_t sum = 0;
  for (int d = shape.rank - 1; d >= 0; --d) {
    const auto axis = static_cast<std::size_t>(d);
    sum += index % shape.size[axis] * stride[axis];
    index /= shape.size[axis];
  }
  return sum;
}

}  // namespace

template <typename T>
void unary(UnaryOp op, T* y, const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = static_cast<T>(apply(op, double{x[i]}));
  }
}

template <typename T>
void power(T* y, const T* x, T exponent, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = static_cast<T>(std::pow(double{x[i]}, double{exponent}));
  }
}

template <typename T>
void binary(BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape) {
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    y[i] = apply(op, a[offset(shape, shape.stride_a, i)], b[offset(shape, shape.stride_b, i)]);
  }
}

template <typename T>
void compare(CompareOp op, std::uint8_t* y, const T* a, const T* b, const StridedShape& shape) {
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    const T left = a[offset(shape, shape.stride_a, i)];
    const T right = b[offset(shape, shape.stride_b, i)];
    y[i] = apply(op, left, right) ? 1 : 0;
  }
}

template <typename T>
void copy_strided(T* y, const T* x, const StridedShape& shape) {
  for (std::int64_t i = 0; i < shape.count(); ++i) y[i] = x[offset(shape, shape.stride_a, i)];
}

template <typename T>
void scatter_strided(T* y, const T* x, const StridedShape& shape, bool accumulate) {
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    T& target = y[offset(shape, shape.stride_a, i)];
    target = accumulate ? static_cast<T>(target + x[i]) : x[i];
  }
}

template <typename T>
void clamp(T* y, const T* x, T low, T high, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = x[i];
    if (x[i] < low) y[i] = low;
    if (x[i] > high) y[i] = high;
  }
}

template <typename T>
void fill(T* y, T value, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = value;
}

template <typename T>
void axpy(T* y, T alpha, const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += alpha * x[i];
}

template <typename T>
void scale(T* y, T alpha, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] *= alpha;
}

void round_to_bfloat16(std::uint16_t* y, const float* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto sign = static_cast<std::uint16_t>(std::signbit(x[i]) ? 0x8000 : 0);
    const double magnitude = std::abs(static_cast<double>(x[i]));
    if (!std::isfinite(x[i])) {
      y[i] = sign | (std::isnan(x[i]) ? 0x7fc0 : 0x7f80);
      continue;
    }
    // The multiples of `step` are the bfloat16s near x: 128 of them in [2^e, 2^(e + 1)), but none
    // finer than 2^-133.
    int exponent = -126;
    if (magnitude > 0) exponent = std::max(exponent, std::ilogb(magnitude));
    const double step = std::ldexp(1.0, exponent - 7);
    double nearest = std::nearbyint(magnitude / step) * step;
    if (magnitude > 0) nearest = std::max(nearest, step);
    const auto rounded = static_cast<float>(nearest);  // infinite beyond the largest
    y[i] = sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(rounded) >> 16);
  }
}

void widen_bfloat16(float* y, const std::uint16_t* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = std::bit_cast<float>(static_cast<std::uint32_t>(x[i]) << 16);
  }
}

template <typename T>
void relu_backward(T* dx, const T* dy, const T* relu_output, std::int64_t count, bool accumulate) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T gradient = relu_output[i] > 0 ? dy[i] : T(0);
    dx[i] = accumulate ? dx[i] + gradient : gradient;
  }
}

template <typename T>
void clamp_backward(T* dx, const T* dy, const T* y, T low, T high, std::int64_t count,
                    bool accumulate) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T gradient = y[i] > low && y[i] < high ? dy[i] : T(0);
    dx[i] = accumulate ? dx[i] + gradient : gradient;
  }
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

}  // namespace attune::kernels::reference
