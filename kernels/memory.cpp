#include "attune/kernels/memory.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "attune/kernels/block_cache.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/error.h"
#include "attune/kernels/kept_results.h"

namespace attune {
namespace {

struct Counters {
  std::mutex mutex;
  MemoryStats stats;
};

constexpr int kMaxGpus = 64;

// Constant-initialised and trivially destroyed, so that objects with static storage duration may
// allocate before main() and deallocate after it.
constinit Counters cpu_counters;
constinit Counters meta_counters;
constinit std::array<Counters, kMaxGpus> gpu_counters;

Counters& counters(Device device, const char* op) {
  switch (device.type) {
    case DeviceType::cpu:
      return cpu_counters;
    case DeviceType::meta:
      return meta_counters;
    case DeviceType::cuda:
      break;
  }
  if (device.index < 0 || device.index >= kMaxGpus) {
    throw Error(std::string(op) + ": there is no device " + to_string(device));
  }
  return gpu_counters[static_cast<std::size_t>(device.index)];
}

MemoryStats::Bytes& bytes_for(MemoryStats& stats, MemoryPurpose purpose) {
  return stats.by_purpose[static_cast<std::size_t>(purpose)];
}

void add(MemoryStats::Bytes& count, std::int64_t bytes) {
  count.live += bytes;
  count.peak = std::max(count.peak, count.live);
}

}  // namespace

const char* to_string(MemoryPurpose purpose) {
  switch (purpose) {
    case MemoryPurpose::parameter:
      return "parameter";
    case MemoryPurpose::activation:
      return "activation";
    case MemoryPurpose::gradient:
      return "gradient";
    case MemoryPurpose::optimizer:
      return "optimizer";
    case MemoryPurpose::workspace:
      break;
  }
  return "workspace";
}

MemoryStats memory_stats(Device device) {
  Counters& of_device = counters(device, "memory_stats");
  const std::lock_guard lock(of_device.mutex);
  MemoryStats stats = of_device.stats;
  if (device == Device::cpu) stats.idle = kernels::idle_block_bytes();
  if (device.type == DeviceType::cuda) stats.idle = kernels::cuda::idle_bytes(device.index);
  return stats;
}

void reset_peak_memory(Device device) {
  Counters& of_device = counters(device, "reset_peak_memory");
  const std::lock_guard lock(of_device.mutex);
  MemoryStats& stats = of_device.stats;
  stats.total.peak = stats.total.live;
  for (MemoryStats::Bytes& count : stats.by_purpose) count.peak = count.live;
}

void restore_peak_memory(Device device, const MemoryStats& earlier) {
  Counters& of_device = counters(device, "restore_peak_memory");
  const std::lock_guard lock(of_device.mutex);
  MemoryStats& stats = of_device.stats;
  stats.total.peak = std::max(stats.total.peak, earlier.total.peak);
  for (std::size_t i = 0; i < stats.by_purpose.size(); ++i) {
    stats.by_purpose[i].peak = std::max(stats.by_purpose[i].peak, earlier.by_purpose[i].peak);
  }
}

void release_idle_memory(Device device) {
  counters(device, "release_idle_memory");
  if (device != Device::meta) kernels::drop_kept_results();
  if (device == Device::cpu) kernels::trim_blocks();
  if (device.type == DeviceType::cuda) kernels::cuda::trim_blocks(device.index);
}

namespace kernels {
namespace {

void* block_of(Device device, std::int64_t bytes) {
  if (device == Device::meta) return nullptr;
  const bool on_gpu = device.type == DeviceType::cuda;
  void* block = on_gpu ? cuda::allocate_block(bytes) : allocate_block(bytes);
  if (block != nullptr) return block;
  std::string message = "allocate: out of memory on " + to_string(device) + ": " +
                        std::to_string(bytes) + " bytes asked for, " +
                        std::to_string(memory_stats(device).total.live) + " live";
  if (on_gpu) message += ", " + std::to_string(cuda::free_bytes(device.index)) + " free";
  throw Error(message);
}

}  // namespace

void* allocate(Device device, std::int64_t bytes, MemoryPurpose purpose) {
  Counters& of_device = counters(device, "allocate");
  if (bytes < 0) throw Error("allocate: " + std::to_string(bytes) + " bytes asked for");
  if (device.type == DeviceType::cuda) cuda::use_device(device.index, "allocate");
  if (bytes == 0) return nullptr;

  void* data = block_of(device, bytes);
  const std::lock_guard lock(of_device.mutex);
  MemoryStats& stats = of_device.stats;
  add(stats.total, bytes);
  add(bytes_for(stats, purpose), bytes);
  ++stats.allocations;
  return data;
}

void deallocate(Device device, void* data, std::int64_t bytes, MemoryPurpose purpose) noexcept {
  if (bytes == 0) return;
  if (device == Device::cpu) release_block(data, bytes);
  if (device.type == DeviceType::cuda) cuda::release_block(device.index, data, bytes);

  Counters& of_device = counters(device, "deallocate");
  const std::lock_guard lock(of_device.mutex);
  add(of_device.stats.total, -bytes);
  add(bytes_for(of_device.stats, purpose), -bytes);
}

void copy(Device to_device, void* to, Device from_device, const void* from, std::int64_t bytes) {
  if (bytes == 0) return;
  const bool to_gpu = to_device.type == DeviceType::cuda;
  const bool from_gpu = from_device.type == DeviceType::cuda;
  if (!to_gpu && !from_gpu) {
    std::memmove(to, from, static_cast<std::size_t>(bytes));
  } else if (to_gpu && from_gpu && to_device != from_device) {
    std::vector<std::byte> on_host(static_cast<std::size_t>(bytes));
    copy(Device::cpu, on_host.data(), from_device, from, bytes);
    copy(to_device, to, Device::cpu, on_host.data(), bytes);
  } else {
    cuda::use_device((to_gpu ? to_device : from_device).index, "copy");
    if (!to_gpu) return cuda::copy_to_host(to, from, bytes);
    if (!from_gpu) return cuda::copy_to_device(to, from, bytes);
    cuda::copy_on_device(to, from, bytes);
  }
}

void relabel(Device device, std::int64_t bytes, MemoryPurpose from, MemoryPurpose to) noexcept {
  Counters& of_device = counters(device, "relabel");
  const std::lock_guard lock(of_device.mutex);
  add(bytes_for(of_device.stats, from), -bytes);
  add(bytes_for(of_device.stats, to), bytes);
}

template class Workspace<float>;
template class Workspace<double>;

}  // namespace kernels
}  // namespace attune
