#pragma once

#include <array>
#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

inline constexpr int kMaxRank = 6;

/// An index space of up to kMaxRank dimensions and the element strides with which two operands are
/// read; stride 0 repeats an element (broadcasting). The output is always contiguous.
struct StridedShape {
  int rank = 0;
  std::array<std::int64_t, kMaxRank> size{};
  std::array<std::int64_t, kMaxRank> stride_a{};
  std::array<std::int64_t, kMaxRank> stride_b{};

  std::int64_t count() const {
    std::int64_t product = 1;
    for (int d = 0; d < rank; ++d) product *= size[static_cast<std::size_t>(d)];
    return product;
  }
};

enum class UnaryOp : std::uint8_t {
  negate,
  exp,
  log,
  sqrt,
  abs,
  relu,
  sigmoid,
  tanh,
  sign,
  reciprocal
};
enum class BinaryOp : std::uint8_t { add, subtract, multiply, divide };
enum class CompareOp : std::uint8_t { equal, not_equal, less, less_equal, greater, greater_equal };

/// y[i] = op(x[i]); `y` may be `x`. NaN gives NaN, also through relu and sign.
template <typename T>
void unary(Device device, UnaryOp op, T* y, const T* x, std::int64_t count);

/// y[i] = x[i] ^ exponent; `y` may be `x`.
template <typename T>
void power(Device device, T* y, const T* x, T exponent, std::int64_t count);

/// y = op(a, b) over `shape`, both operands broadcast. `y` may be `a` or `b` if that one is not
/// broadcast.
template <typename T>
void binary(Device device, BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape);

/// y = op(a, b) ? 1 : 0 over `shape`, both operands broadcast.
template <typename T>
void compare(Device device, CompareOp op, std::uint8_t* y, const T* a, const T* b,
             const StridedShape& shape);

/// y[i] = x[i], x read with `shape.stride_a`: permutation, slicing and expansion in one.
template <typename T>
void copy_strided(Device device, T* y, const T* x, const StridedShape& shape);

/// y, written with `shape.stride_a`, gets x[i] (contiguous) added if `accumulate`, else stored.
/// Strides must not be zero: no element is written twice.
template <typename T>
void scatter_strided(Device device, T* y, const T* x, const StridedShape& shape, bool accumulate);

/// y[i] = min(max(x[i], low), high), where low <= high; NaN stays NaN. `y` may be `x`.
template <typename T>
void clamp(Device device, T* y, const T* x, T low, T high, std::int64_t count);

/// y[i] = value.
template <typename T>
void fill(Device device, T* y, T value, std::int64_t count);

/// y[i] += alpha * x[i].
template <typename T>
void axpy(Device device, T* y, T alpha, const T* x, std::int64_t count);

/// y[i] *= alpha.
template <typename T>
void scale(Device device, T* y, T alpha, std::int64_t count);

/// y[i] = x[i] as a bfloat16, the upper half of a float (8 bits of exponent, 7 of mantissa): the
/// nearest one, of two as near the even one. NaN stays NaN; and so that a ReLU's output tells where
/// it was positive, what is not zero stays so, the smallest being 2^-133.
void round_to_bfloat16(Device device, std::uint16_t* y, const float* x, std::int64_t count);

/// y[i] = x[i], a bfloat16.
void widen_bfloat16(Device device, float* y, const std::uint16_t* x, std::int64_t count);

/// ++y[0].
void increment(Device device, std::int64_t* y);

/// dx[i] = relu_output[i] > 0 ? dy[i] : 0, added to dx if `accumulate`; `dx` may be `dy`.
template <typename T>
void relu_backward(Device device, T* dx, const T* dy, const T* relu_output, std::int64_t count,
                   bool accumulate = false);

/// dx[i] = low < y[i] < high ? dy[i] : 0 with the output y of clamp(), added to dx if `accumulate`;
/// `dx` may be `dy`.
template <typename T>
void clamp_backward(Device device, T* dx, const T* dy, const T* y, T low, T high,
                    std::int64_t count, bool accumulate = false);

}  // namespace attune::kernels
