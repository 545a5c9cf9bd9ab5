#pragma once

#include <cstdint>

#include "attune/kernels/memory.h"  // IWYU pragma: export

namespace attune {

/// The peak of a device's memory within a block:
///
///     MemoryScope scope(Device::cpu);
///     ... a training step ...
///     scope.peak_above_start();
///
/// Scopes nest: leaving one hands its peak on to the one around it. Counters are per device, so a
/// scope sees the allocations of all threads.
class MemoryScope {
 public:
  explicit MemoryScope(Device device);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

  /// Highest number of bytes live since the scope began.
  std::int64_t peak() const;
  /// The same, less what was live when the scope began.
  std::int64_t peak_above_start() const { return peak() - start_.total.live; }

 private:
  Device device_;
  MemoryStats start_;
};

}  // namespace attune
