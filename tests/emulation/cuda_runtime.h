#pragma once

// Stands in for the header of this name from the CUDA toolkit, so that kernels/cuda compiles
// without it and runs without a GPU: as much of the language and of the runtime's functions as that
// needs. There are no __shared__ variables: kernels ask gpu.h for their shared memory, which lets
// it be poisoned and watched.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>

#include "tests/emulation/runtime.h"
#include "tests/emulation/thread_block.h"
#include "tests/emulation/vector_types.h"

// ---- keywords and built-in variables
// -------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

#define threadIdx (emulation::this_block->running->index)
#define blockIdx (emulation::this_block->index)
#define blockDim (emulation::this_block->dim)
#define gridDim (emulation::this_block->grid)
#define warpSize 32

// ---- barriers and warp operations
// ----------------------------------------------------------------

inline void __syncthreads(emulation::Where where = emulation::Where::current()) {
  emulation::synchronize_block(where);
}

inline void __syncwarp(unsigned mask = ~0U, emulation::Where where = emulation::Where::current()) {
  emulation::warp_operation<char>(
      mask, char{}, [](const auto&, const auto&) {}, where);
}

namespace emulation {

/// Lane l gets the value of lane source(l), or its own if there is no such lane.
template <typename T, typename Source>
T shuffle(unsigned mask, T value, Source source, Where where) {
  const auto exchange = [&](const T* const* values, T* const* results) {
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      if (results[lane] == nullptr) continue;
      const unsigned from = source(lane) < kWarpSize ? source(lane) : lane;
      if (values[from] == nullptr) fail("shuffle from a lane that is not in the mask", where);
      *results[lane] = *values[from];
    }
  };
  return warp_operation<T>(mask, value, exchange, where);
}

}  // namespace emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, unsigned lane,
              emulation::Where where = emulation::Where::current()) {
  return emulation::shuffle(
      mask, value, [lane](unsigned) { return lane % 32; }, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, unsigned bits,
                  emulation::Where where = emulation::Where::current()) {
  return emulation::shuffle(
      mask, value, [bits](unsigned lane) { return lane ^ bits; }, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by,
                   emulation::Where where = emulation::Where::current()) {
  return emulation::shuffle(
      mask, value, [by](unsigned lane) { return lane + by; }, where);
}

inline unsigned __ballot_sync(unsigned mask, bool vote,
                              emulation::Where where = emulation::Where::current()) {
  const auto count = [](const bool* const* votes, unsigned* const* results) {
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (votes[lane] != nullptr && *votes[lane]) ballot |= 1U << lane;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (results[lane] != nullptr) *results[lane] = ballot;
    }
  };
  return emulation::warp_operation<unsigned>(mask, vote, count, where);
}

// ---- functions of the device
// ---------------------------------------------------------------------

template <typename T>
T atomicAdd(T* address, T value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
