#pragma once

#include "attune/kernels/cpu/simd/vector.h"

// Winograd's F(4, 3) (Lavin and Gray, arXiv 1509.09308, section 4.1): four outputs of a filter of
// three taps from six inputs with six multiplications,
//
//     y = A^T [(G g) * (B^T d)]                    * element by element
//
// by evaluating polynomials at 0, 1, -1, 2, -2 and infinity. Applied to the rows and then to the
// columns of a tile it gives F(4x4, 3x3), with 36 multiplications instead of 144. Each function is
// one matrix times a column of vectors; the gradients need the transposes, which are here as well.
//
//           4  0 -5  0  1  0           1/4    0    0           1  1  1  1  1  0
//           0 -4 -4  1  1  0          -1/6 -1/6 -1/6           0  1 -1  2 -2  0
//     B^T = 0  4 -4 -1  1  0      G = -1/6  1/6 -1/6     A^T = 0  1  1  4  4  0
//           0 -2 -1  2  1  0          1/24 1/12  1/6           0  1 -1  8 -8  1
//           0  2 -1 -2  1  0          1/24 -1/12 1/6
//           0  4  0 -5  0  1             0    0    1
namespace attune::kernels::cpu::ATTUNE_ISA {

inline constexpr int kTile = 4;   // outputs of a tile, in either dimension
inline constexpr int kPatch = 6;  // its inputs
inline constexpr int kFrequencies = kPatch * kPatch;

/// B^T d
template <typename V>
ATTUNE_INLINE void transform_input(V (&out)[kPatch], const V (&d)[kPatch]) {
  const V even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
  const V even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
  out[0] = 4 * d[0] - 5 * d[2] + d[4];
  out[1] = even + odd;
  out[2] = even - odd;
  out[3] = even2 + odd2;
  out[4] = even2 - odd2;
  out[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/// A^T m
template <typename V>
ATTUNE_INLINE void transform_output(V (&out)[kTile], const V (&m)[kPatch]) {
  const V sum = m[1] + m[2], difference = m[1] - m[2];
  const V sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  out[0] = m[0] + sum + sum2;
  out[1] = difference + 2 * difference2;
  out[2] = sum + 4 * sum2;
  out[3] = difference + 8 * difference2 + m[5];
}

/// A y, the adjoint of transform_output
template <typename V>
ATTUNE_INLINE void transform_output_gradient(V (&out)[kPatch], const V (&y)[kTile]) {
  const V even = y[0] + y[2], odd = y[1] + y[3];
  const V even2 = y[0] + 4 * y[2], odd2 = 2 * y[1] + 8 * y[3];
  out[0] = y[0];
  out[1] = even + odd;
  out[2] = even - odd;
  out[3] = even2 + odd2;
  out[4] = even2 - odd2;
  out[5] = y[3];
}

/// G g
template <typename V>
ATTUNE_INLINE void transform_filter(V (&out)[kPatch], const V (&g)[3]) {
  using T = std::remove_reference_t<decltype(g[0][0])>;
  const V even = T(-1) / 6 * (g[0] + g[2]), odd = T(1) / 6 * g[1];
  const V even2 = T(1) / 24 * g[0] + T(1) / 6 * g[2], odd2 = T(1) / 12 * g[1];
  out[0] = T(0.25) * g[0];
  out[1] = even - odd;
  out[2] = even + odd;
  out[3] = even2 + odd2;
  out[4] = even2 - odd2;
  out[5] = g[2];
}

/// G^T u, the adjoint of transform_filter
template <typename V>
ATTUNE_INLINE void transform_filter_gradient(V (&out)[3], const V (&u)[kPatch]) {
  using T = std::remove_reference_t<decltype(u[0][0])>;
  const V sum = u[1] + u[2], difference = u[2] - u[1];
  const V sum2 = u[3] + u[4], difference2 = u[3] - u[4];
  out[0] = T(0.25) * u[0] - T(1) / 6 * sum + T(1) / 24 * sum2;
  out[1] = T(1) / 6 * difference + T(1) / 12 * difference2;
  out[2] = T(1) / 6 * (sum2 - sum) + u[5];
}

/// Transforms the rows of a tile whose columns are transformed already, and stores the result: its
/// frequencies `distance` elements apart.
template <int kColumns, typename T, typename Transform>
ATTUNE_INLINE void store_frequencies(T* to, std::int64_t distance,
                                     const Vector<T> (&half)[kPatch][kColumns],
                                     const Transform& transform) {
  unroll<kPatch>([&](auto i) ATTUNE_INLINE_LAMBDA {
    Vector<T> row[kPatch];
    transform(row, half[i]);
    unroll<kPatch>([&](auto j)
                       ATTUNE_INLINE_LAMBDA { store(to + (i * kPatch + j) * distance, row[j]); });
  });
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
