#include <cstddef>
#include <cstdint>
#include <limits>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/runtime.h"

// Memory comes from CUDA's own pool, which hands out and takes back in the order of the stream: a
// block may be released while kernels that use it are under way. The pool keeps what it has got; at
// first it is told not to give it back at each synchronisation.
namespace attune::kernels::cuda {
namespace {

// Does something with a GPU's pool, and returns to the current GPU. Without a pool, does nothing.
template <typename Body>
void with_pool(int index, const Body& body) noexcept {
  cudaMemPool_t pool = nullptr;
  if (cudaDeviceGetDefaultMemPool(&pool, index) == cudaSuccess) {
    body(pool);
  } else {
    cudaGetLastError();
  }
}

std::int64_t attribute(cudaMemPool_t pool, cudaMemPoolAttr name) noexcept {
  std::uint64_t value = 0;
  cudaMemPoolGetAttribute(pool, name, &value);
  return static_cast<std::int64_t>(value);
}

}  // namespace

void keep_memory(int index) {
  with_pool(index, [](cudaMemPool_t pool) {
    std::uint64_t all = std::numeric_limits<std::uint64_t>::max();
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all),
          "setting up the memory pool");
  });
}

void* allocate_block(std::int64_t bytes) {
  void* block = nullptr;
  const cudaError_t error = cudaMallocAsync(&block, static_cast<std::size_t>(bytes), stream());
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "allocating memory");
  return block;
}

void release_block(int index, void* block) noexcept { cudaFreeAsync(block, stream_of(index)); }

std::int64_t free_bytes(int index) noexcept {
  std::size_t free = 0;
  std::size_t total = 0;
  cudaSetDevice(index);
  cudaMemGetInfo(&free, &total);
  cudaSetDevice(current_device());
  return static_cast<std::int64_t>(free) + idle_bytes(index);
}

std::int64_t idle_bytes(int index) noexcept {
  std::int64_t idle = 0;
  with_pool(index, [&](cudaMemPool_t pool) {
    idle = attribute(pool, cudaMemPoolAttrReservedMemCurrent) -
           attribute(pool, cudaMemPoolAttrUsedMemCurrent);
  });
  return idle;
}

void trim_blocks(int index) noexcept {
  cudaStreamSynchronize(stream_of(index));
  with_pool(index, [](cudaMemPool_t pool) { cudaMemPoolTrimTo(pool, 0); });
}

}  // namespace attune::kernels::cuda
