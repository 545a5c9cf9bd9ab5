#include "attune/core/memory_stats.h"

namespace attune {

MemoryScope::MemoryScope(Device device) : device_(device), start_(memory_stats(device)) {
  reset_peak_memory(device);
}

MemoryScope::~MemoryScope() { restore_peak_memory(device_, start_); }

std::int64_t MemoryScope::peak() const { return memory_stats(device_).total.peak; }

}  // namespace attune
