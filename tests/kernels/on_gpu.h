#pragma once

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/memory.h"
#include "tests/kernels/device_vector.h"

namespace attune::test {

/// A copy of `values` in the memory of the first GPU, whichever device test_device() is.
template <typename T>
class OnGpu {
 public:
  explicit OnGpu(const Vector<T>& values)
      : memory_(count(values), use_gpu()), size_(count(values)) {
    if (size_ > 0) kernels::cuda::copy_to_device(data(), values.data(), bytes());
  }

  T* data() const { return memory_.data(); }
  Vector<T> values() const {
    Vector<T> values(static_cast<std::size_t>(size_));
    if (size_ > 0) kernels::cuda::copy_to_host(values.data(), data(), bytes());
    return values;
  }

 private:
  static std::int64_t count(const Vector<T>& values) {
    return static_cast<std::int64_t>(values.size());
  }
  static Device use_gpu() {
    kernels::cuda::use_device(0, "test");
    return Device::cuda(0);
  }
  std::int64_t bytes() const { return size_ * static_cast<std::int64_t>(sizeof(T)); }

  kernels::Workspace<T> memory_;
  std::int64_t size_;
};

}  // namespace attune::test
