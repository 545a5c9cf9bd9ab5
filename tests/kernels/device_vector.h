#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/device.h"
#include "tests/test_util.h"

// Arrays that both the tests and the kernels they test can use.
namespace attune::test {

/// Memory that test_device() and the CPU share. Kernels have finished when the call that started
/// them returns, so that a test may look at the results at once.
void* allocate_shared(std::size_t bytes);
void release_shared(void* memory) noexcept;

template <typename T>
struct SharedAllocator {
  using value_type = T;

  SharedAllocator() = default;
  template <typename Other>
  SharedAllocator(const SharedAllocator<Other>& /*other*/) {}

  T* allocate(std::size_t count) { return static_cast<T*>(allocate_shared(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t /*count*/) noexcept { release_shared(memory); }

  friend bool operator==(const SharedAllocator&, const SharedAllocator&) { return true; }
};

template <typename T>
using Vector = std::vector<T, SharedAllocator<T>>;

/// random_vector() for kernels.
template <typename T>
Vector<T> random_values(std::int64_t count, std::uint64_t seed, double low = -1, double high = 1) {
  const std::vector<T> values = random_vector<T>(count, seed, low, high);
  return Vector<T>(values.begin(), values.end());
}

}  // namespace attune::test
