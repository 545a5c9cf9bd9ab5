#pragma once

#include <algorithm>
#include <cstdint>

#include "attune/kernels/conv2d.h"

// The epilogue of attune/kernels/conv2d.h, split around an accumulation in place: what is added
// comes first, since a sum may as well start there as at zero; what selects comes last. Both work
// on `rows` pixels of `channels` elements that start at pixel `first` and are still in cache.
namespace attune::kernels::cpu {

/// out = residual + bias, either of which may be missing.
template <typename T>
void begin_epilogue(T* out, std::int64_t first, std::int64_t rows, std::int64_t channels,
                    const Conv2dEpilogue<T>& epilogue) {
  T* block = out + first * channels;
  if (!epilogue.residual) {
    std::fill_n(block, rows * channels, T(0));
  } else if (epilogue.residual != out) {
    std::copy_n(epilogue.residual + first * channels, rows * channels, block);
  }
  if (!epilogue.bias) return;
  for (std::int64_t i = 0; i < rows; ++i, block += channels) {
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) block[c] += epilogue.bias[c];
  }
}

/// out = relu(out), then zero where the mask is not positive, either only if asked for.
template <typename T>
void finish_epilogue(T* out, std::int64_t first, std::int64_t rows, std::int64_t channels,
                     const Conv2dEpilogue<T>& epilogue) {
  T* block = out + first * channels;
  if (epilogue.relu) {
#pragma omp simd
    for (std::int64_t i = 0; i < rows * channels; ++i) block[i] = block[i] < 0 ? T(0) : block[i];
  }
  if (epilogue.mask) {
    const T* mask = epilogue.mask + first * channels;
#pragma omp simd
    for (std::int64_t i = 0; i < rows * channels; ++i) block[i] = mask[i] > 0 ? block[i] : T(0);
  }
}

}  // namespace attune::kernels::cpu
