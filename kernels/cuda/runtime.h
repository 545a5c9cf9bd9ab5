#pragma once

#include <cuda_runtime.h>

namespace attune::kernels::cuda {

/// Throws Error, "cuda: <what>: <CUDA's explanation>", unless `error` is cudaSuccess. Around every
/// call of a CUDA function.
void check(cudaError_t error, const char* what);

inline constexpr int kMaxDevices = 64;

/// The stream that all kernels of the current device run on, one after another.
cudaStream_t stream();
/// That of another device; null if nobody has used it.
cudaStream_t stream_of(int index) noexcept;

/// Has a device keep memory that is released, for the next who asks.
void keep_memory(int index);

}  // namespace attune::kernels::cuda
