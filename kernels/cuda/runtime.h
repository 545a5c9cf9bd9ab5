#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace attune::kernels::cuda {

/// Throws Error, "cuda: <what>: <CUDA's explanation>", unless `error` is cudaSuccess. Around every
/// call of a CUDA function.
void check(cudaError_t error, const char* what);

inline constexpr int kMaxDevices = 64;

/// The stream that all kernels of the current device run on, one after another.
cudaStream_t stream();
/// That of another device; null if nobody has used it.
cudaStream_t stream_of(int index) noexcept;

/// Where copies beside the kernels of the current device run.
cudaStream_t copy_stream();

/// From begin to end, memory of a device is allocated from an arena of `owner` alone, where nothing
/// else will be. When the owner abandons it, it goes with the last of what was allocated.
void begin_own_memory(int index, const void* owner);
void end_own_memory(int index) noexcept;
void abandon_own_memory(int index, const void* owner) noexcept;

/// A target that names no class, found by a kernel; row -1: none was.
struct BadTarget {
  std::int64_t row = -1, target = 0, classes = 0;
};

/// Where kernels of the current device report the first one: memory of the host, which one thread
/// of a grid may write to. Whoever waits for the GPU next gets the Error.
BadTarget* bad_target();

}  // namespace attune::kernels::cuda
