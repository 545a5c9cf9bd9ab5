#include "tests/emulation/runtime.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#if defined(EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#define WITH_ASAN(...) __VA_ARGS__
#else
#define WITH_ASAN(...)
#endif

namespace {

constexpr std::size_t kAlignment = 256;

struct Device {
  std::mutex mutex;
  std::map<void*, std::size_t> blocks;  // by address, with their sizes
  std::set<void*> managed_blocks;
  std::size_t bytes_in_use = 0;
  std::size_t bytes = std::size_t{1} << 30;
  int major = 9;
  int minor = 0;
  int users = 0;  // kernels and copies under way
  cudaError_t driver_error = cudaSuccess;
  cudaError_t launch_error = cudaSuccess;
  cudaError_t last_error = cudaSuccess;
};

Device& device() {
  static auto* instance = new Device;  // never destroyed: static tensors may outlive anything else
  return *instance;
}

}  // namespace

namespace emulation {

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) device().last_error = error;
  return error;
}

DeviceMemoryInUse::DeviceMemoryInUse() {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  if (gpu.users++ > 0) return;
  WITH_ASAN(for (auto [address, size] : gpu.blocks) ASAN_UNPOISON_MEMORY_REGION(address, size);)
}

DeviceMemoryInUse::~DeviceMemoryInUse() {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  if (--gpu.users > 0) return;
  WITH_ASAN(for (auto [address, size] : gpu.blocks) ASAN_POISON_MEMORY_REGION(address, size);)
}

void break_driver(cudaError_t error) { device().driver_error = error; }
void break_launches(cudaError_t error) { device().launch_error = error; }
cudaError_t launch_error() { return device().launch_error; }
void set_compute_capability(int major, int minor) {
  device().major = major;
  device().minor = minor;
}
void set_device_memory(std::size_t bytes) { device().bytes = bytes; }

bool take_device_memory(std::size_t bytes) {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  if (bytes > gpu.bytes - std::min(gpu.bytes, gpu.bytes_in_use)) return false;
  gpu.bytes_in_use += bytes;
  return true;
}

void return_device_memory(std::size_t bytes) {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  gpu.bytes_in_use -= bytes;
}

cudaError_t launch(dim3 grid, dim3 block, std::size_t shared_bytes, EmulatedStream* stream,
                   std::function<void()> kernel) {
  if (device().launch_error != cudaSuccess) return remember(device().launch_error);
  const std::size_t size = std::size_t{block.x} * block.y * block.z;
  const bool empty = grid.x == 0 || grid.y == 0 || grid.z == 0 || size == 0;
  if (empty || size > 1024 || block.z > 64 || grid.x > 0x7fffffffU || grid.y > 0xffffU ||
      grid.z > 0xffffU || shared_bytes > kMostSharedBytes) {
    return remember(cudaErrorInvalidConfiguration);
  }
  enqueue(stream, [=, kernel = std::move(kernel)] {
    const DeviceMemoryInUse in_use;
    run_grid(grid, block, shared_bytes, kernel);
  });
  return cudaSuccess;
}

}  // namespace emulation

using emulation::remember;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = device().last_error;
  device().last_error = cudaSuccess;
  return error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (device().driver_error != cudaSuccess) return remember(device().driver_error);
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (index != 0) return remember(cudaErrorInvalidDevice);
  std::snprintf(properties->name, sizeof properties->name, "emulated GPU");
  properties->totalGlobalMem = device().bytes;
  properties->major = device().major;
  properties->minor = device().minor;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (device().driver_error != cudaSuccess) return remember(device().driver_error);
  return index == 0 ? cudaSuccess : remember(cudaErrorInvalidDevice);
}

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  *address = nullptr;
  if (gpu.driver_error != cudaSuccess) return remember(gpu.driver_error);
  if (bytes > gpu.bytes - std::min(gpu.bytes, gpu.bytes_in_use)) {
    return remember(cudaErrorMemoryAllocation);
  }
  // Of the exact size, for AddressSanitizer; aligned as cudaMalloc() promises; a NaN until written.
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes) != 0) return remember(cudaErrorMemoryAllocation);
  std::memset(block, 0xff, bytes);
  WITH_ASAN(if (gpu.users == 0) ASAN_POISON_MEMORY_REGION(block, bytes);)
  gpu.blocks[block] = bytes;
  gpu.bytes_in_use += bytes;
  *address = block;
  return cudaSuccess;
}

cudaError_t cudaMallocManaged(void** address, std::size_t bytes) {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  *address = nullptr;
  if (gpu.driver_error != cudaSuccess) return remember(gpu.driver_error);
  if (posix_memalign(address, kAlignment, bytes) != 0) return remember(cudaErrorMemoryAllocation);
  gpu.managed_blocks.insert(*address);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned /*flags*/) {
  *address = std::malloc(bytes);
  return *address != nullptr ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* address) {
  std::free(address);
  return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
  emulation::work_off_streams();
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  if (address == nullptr) return cudaSuccess;
  if (gpu.managed_blocks.erase(address) == 1) {
    std::free(address);
    return cudaSuccess;
  }
  const auto block = gpu.blocks.find(address);
  if (block == gpu.blocks.end()) return remember(cudaErrorInvalidValue);
  WITH_ASAN(ASAN_UNPOISON_MEMORY_REGION(address, block->second);)
  gpu.bytes_in_use -= block->second;
  gpu.blocks.erase(block);
  std::free(address);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  Device& gpu = device();
  const std::lock_guard lock(gpu.mutex);
  *total = gpu.bytes;
  *free = gpu.bytes - std::min(gpu.bytes, gpu.bytes_in_use);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  emulation::enqueue(stream, [=] {
    const emulation::DeviceMemoryInUse in_use;
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* address, int value, std::size_t bytes, cudaStream_t stream) {
  emulation::enqueue(stream, [=] {
    const emulation::DeviceMemoryInUse in_use;
    if (bytes > 0) std::memset(address, value, bytes);
  });
  return cudaSuccess;
}
