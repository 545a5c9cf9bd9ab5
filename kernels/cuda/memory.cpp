#include <cstddef>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/runtime.h"

namespace attune::kernels::cuda {

void* allocate_block(std::int64_t bytes) noexcept {
  void* block = nullptr;
  if (cudaMalloc(&block, static_cast<std::size_t>(bytes)) == cudaSuccess) return block;
  cudaGetLastError();
  return nullptr;
}

void release_block(int index, void* block, std::int64_t /*bytes*/) noexcept {
  cudaSetDevice(index);
  cudaFree(block);
  cudaSetDevice(current_device());
}

std::int64_t free_bytes(int index) noexcept {
  std::size_t free = 0;
  std::size_t total = 0;
  cudaSetDevice(index);
  cudaMemGetInfo(&free, &total);
  cudaSetDevice(current_device());
  return static_cast<std::int64_t>(free);
}

std::int64_t idle_bytes(int /*index*/) noexcept { return 0; }
void trim_blocks(int /*index*/) noexcept {}

}  // namespace attune::kernels::cuda
