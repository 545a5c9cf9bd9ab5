#include <cuda_runtime.h>

#include <cstdlib>
#include <new>

#include "tests/kernels/device_vector.h"

namespace attune::test {
namespace {

// Before anybody uses the GPU, which looks at it once.
[[maybe_unused]] const int kernel_by_kernel = setenv("CUDA_LAUNCH_BLOCKING", "1", 1);

}  // namespace

void* allocate_shared(std::size_t bytes) {
  void* memory = nullptr;
  if (test_device() == Device::cpu) {
    memory = std::malloc(bytes);
  } else if (cudaMallocManaged(&memory, bytes) != cudaSuccess) {
    memory = nullptr;
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release_shared(void* memory) noexcept {
  if (test_device() == Device::cpu) {
    std::free(memory);
  } else {
    cudaFree(memory);
  }
}

}  // namespace attune::test
