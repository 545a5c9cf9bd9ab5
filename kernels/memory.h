#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "attune/kernels/device.h"

namespace attune {

/// What bytes are for. Statistics are kept for each purpose.
enum class MemoryPurpose : std::uint8_t {
  parameter,   ///< weights, and buffers such as running statistics
  activation,  ///< everything else a tensor holds: inputs, results, what is saved for backward
  gradient,    ///< gradients of parameters and of activations
  optimizer,   ///< momentum, moments, averaged weights
  workspace,   ///< scratch of a kernel, gone when it returns; or filters as kernels want them
};
inline constexpr int kMemoryPurposes = 5;

/// "parameter", "activation", ...
const char* to_string(MemoryPurpose purpose);

/// Bytes asked for (not rounded up), exact and deterministic.
struct MemoryStats {
  struct Bytes {
    std::int64_t live = 0;  ///< allocated now
    std::int64_t peak = 0;  ///< highest `live` since the start or the last reset_peak_memory()
  };
  Bytes total;  ///< `total.peak` is the peak of the sum, not the sum of the peaks
  std::array<Bytes, kMemoryPurposes> by_purpose;
  std::int64_t allocations = 0;  ///< number of allocations since the start
  std::int64_t idle = 0;         ///< not live, but kept for whoever asks next; rounded up

  const Bytes& operator[](MemoryPurpose purpose) const {
    return by_purpose[static_cast<std::size_t>(purpose)];
  }
};

/// The counters of one device. Thread-safe.
MemoryStats memory_stats(Device device);

/// Sets every peak of `device` to what is live now.
void reset_peak_memory(Device device);

/// Raises every peak of `device` to at least what it was in `earlier`: undoes a reset.
void restore_peak_memory(Device device, const MemoryStats& earlier);

/// Gives memory that is idle on `device` back to the system, which happens by itself only when the
/// CPU's memory runs out; and what kernels keep to save time (attune/kernels/kept_results.h). On a
/// GPU, only what lies behind everything that is live.
void release_idle_memory(Device device);

namespace kernels {

/// The one source of bytes in this library, 64-byte aligned and not initialised. On Device::meta
/// the bytes are counted and the result is null; zero bytes give null as well.
/// Throws Error when memory runs out (bytes asked for and live are named) or when the library was
/// built without support for `device`.
void* allocate(Device device, std::int64_t bytes, MemoryPurpose purpose);

/// Returns what allocate() gave; `bytes` and `purpose` are those of the allocation.
void deallocate(Device device, void* data, std::int64_t bytes, MemoryPurpose purpose) noexcept;

/// Copies bytes between or within devices, after all kernels so far; when it returns, `from` may be
/// changed and host memory at `to` be read. Neither device is Device::meta. The two may overlap on
/// the CPU.
void copy(Device to_device, void* to, Device from_device, const void* from, std::int64_t bytes);

/// Moves the count of a live allocation from one purpose to another; the total is unchanged.
void relabel(Device device, std::int64_t bytes, MemoryPurpose from, MemoryPurpose to) noexcept;

/// Scratch memory of a kernel, counted as workspace and released at the end of the scope.
template <typename T>
class Workspace {
 public:
  explicit Workspace(std::int64_t count, Device device = Device::cpu)
      : device_(device),
        bytes_(count * static_cast<std::int64_t>(sizeof(T))),
        data_(static_cast<T*>(allocate(device, bytes_, MemoryPurpose::workspace))) {}
  ~Workspace() { deallocate(device_, data_, bytes_, MemoryPurpose::workspace); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  T* data() const { return data_; }

 private:
  Device device_;
  std::int64_t bytes_;
  T* data_;
};
// Nothing of it is compiled for one of the larger instruction sets (kernels/CMakeLists.txt).
extern template class Workspace<float>;
extern template class Workspace<double>;

}  // namespace kernels
}  // namespace attune
