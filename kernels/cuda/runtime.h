#pragma once

#include <cuda_runtime.h>

namespace attune::kernels::cuda {

/// Throws Error, "cuda: <what>: <CUDA's explanation>", unless `error` is cudaSuccess. Around every
/// call of a CUDA function.
void check(cudaError_t error, const char* what);

/// The stream that all kernels of the current device run on, one after another.
cudaStream_t stream();

}  // namespace attune::kernels::cuda
