#pragma once

#include "attune/kernels/elementwise.h"

// Contracts: attune/kernels/elementwise.h.
namespace attune::kernels::cuda {

template <typename T>
void unary(UnaryOp op, T* y, const T* x, std::int64_t count);

template <typename T>
void power(T* y, const T* x, T exponent, std::int64_t count);

template <typename T>
void binary(BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape);

template <typename T>
void compare(CompareOp op, std::uint8_t* y, const T* a, const T* b, const StridedShape& shape);

template <typename T>
void copy_strided(T* y, const T* x, const StridedShape& shape);

template <typename T>
void scatter_strided(T* y, const T* x, const StridedShape& shape, bool accumulate);

template <typename T>
void clamp(T* y, const T* x, T low, T high, std::int64_t count);

template <typename T>
void fill(T* y, T value, std::int64_t count);

template <typename T>
void axpy(T* y, T alpha, const T* x, std::int64_t count);

template <typename T>
void scale(T* y, T alpha, std::int64_t count);

template <typename T>
void clamp_backward(T* dx, const T* dy, const T* y, T low, T high, std::int64_t count,
                    bool accumulate);

void round_to_bfloat16(std::uint16_t* y, const float* x, std::int64_t count);
void widen_bfloat16(float* y, const std::uint16_t* x, std::int64_t count);

void increment(std::int64_t* y);

template <typename T>
void relu_backward(T* dx, const T* dy, const T* relu_output, std::int64_t count, bool accumulate);

}  // namespace attune::kernels::cuda
