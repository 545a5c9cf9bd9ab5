#pragma once

#include "attune/core/tensor.h"

// Arithmetic element by element. Shapes broadcast by NumPy's rule: aligned at the last axis, an
// extent of 1 (or a missing axis) is repeated. Both operands must be floating, of one dtype, on one
// device. A gradient is summed over the axes along which its operand was repeated.

namespace attune {

/// a + b. Keeps nothing for backward.
Tensor add(const Tensor& a, const Tensor& b);
/// a - b. Keeps nothing for backward.
Tensor subtract(const Tensor& a, const Tensor& b);
/// a * b. Keeps a if b needs a gradient, and b if a does.
Tensor multiply(const Tensor& a, const Tensor& b);
/// a / b. Keeps b, and a if b needs a gradient.
Tensor divide(const Tensor& a, const Tensor& b);
/// -x. Keeps nothing for backward.
Tensor negate(const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return subtract(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return multiply(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return divide(a, b); }
inline Tensor operator-(const Tensor& x) { return negate(x); }

// A number stands for a rank-0 tensor of the other operand's dtype and device.
Tensor operator+(const Tensor& a, double b);
Tensor operator-(const Tensor& a, double b);
Tensor operator*(const Tensor& a, double b);
Tensor operator/(const Tensor& a, double b);
Tensor operator+(double a, const Tensor& b);
Tensor operator-(double a, const Tensor& b);
Tensor operator*(double a, const Tensor& b);
Tensor operator/(double a, const Tensor& b);

}  // namespace attune
