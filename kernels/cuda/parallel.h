#pragma once

#include <cstdint>

#include "attune/kernels/cuda/gpu.h"

// The simplest kind of kernel: a loop whose iterations have nothing to do with one another, each of
// which gets a thread.
namespace attune::kernels::cuda {

inline constexpr unsigned kThreads = 256;  // in a block

/// Blocks of kThreads threads, enough for one thread each of `count`.
inline dim3 blocks_for(std::int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

/// Which of all the grid's threads this is.
__device__ inline std::int64_t thread_number() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// Element (n, h, w, c) of a tensor [N, height, width, channels], from its position.
struct Element {
  std::int64_t n, h, w, c;

  __device__ Element(std::int64_t i, std::int64_t height, std::int64_t width, std::int64_t channels)
      : n(i / channels / width / height),
        h(i / channels / width % height),
        w(i / channels % width),
        c(i % channels) {}
};

/// values[i] of an array that may be missing.
template <typename T>
__device__ T value_or(const T* values, std::int64_t i, T otherwise) {
  return values != nullptr ? values[i] : otherwise;
}

template <typename Body>
__global__ void for_each_kernel(std::int64_t count, Body body) {
  const std::int64_t i = thread_number();
  if (i < count) body(i);
}

/// Calls body(i) for every i in [0, count), in any order. `body` is a lambda marked __device__,
/// which holds copies of what it uses: [=].
template <typename Body>
void for_each(std::int64_t count, const Body& body) {
  launch(for_each_kernel<Body>, blocks_for(count), kThreads, 0, stream(), count, body);
}

}  // namespace attune::kernels::cuda
