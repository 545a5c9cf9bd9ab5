#include <cstdlib>
#include <new>

#include "tests/kernels/device_vector.h"

// Without CUDA there is only the CPU's memory.
namespace attune::test {

void* allocate_shared(std::size_t bytes) {
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

void release_shared(void* memory) noexcept { std::free(memory); }

}  // namespace attune::test
