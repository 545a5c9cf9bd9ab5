#pragma once

#include "attune/kernels/cpu/simd/vector.h"

// Filters are stored with the inputs of an output side by side, and multiplied with the outputs of
// an input side by side.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// to[j][i] (+)= from[i][j] for i < rows, j < columns; the strides are elements between rows.
template <typename T>
[[gnu::noinline]] void transpose_rows(T* to, std::int64_t to_stride, const T* from,
                                      std::int64_t from_stride, std::int64_t rows,
                                      std::int64_t columns, bool accumulate = false) {
  constexpr int kSide = kLanes<T>;
  if (rows % kSide == 0 && columns % kSide == 0) {
    for (std::int64_t i = 0; i < rows; i += kSide) {
      for (std::int64_t j = 0; j < columns; j += kSide) {
        T* const out = to + j * to_stride + i;
        const T* const in = from + i * from_stride + j;
        Vector<T> square[kSide];
        unroll<kSide>([&](auto r) ATTUNE_INLINE_LAMBDA { square[r] = load(in + r * from_stride); });
        transpose<T>(square);
        unroll<kSide>([&](auto r) ATTUNE_INLINE_LAMBDA {
          T* const row = out + r * to_stride;
          store(row, accumulate ? load<T>(row) + square[r] : square[r]);
        });
      }
    }
    return;
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      T& element = to[j * to_stride + i];
      const T value = from[i * from_stride + j];
      element = accumulate ? element + value : value;
    }
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
