#include <cuda.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "attune/kernels/arena.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/runtime.h"
#include "attune/kernels/error.h"
#include "attune/kernels/sanitizers.h"

// A GPU's memory is one arena: a range of addresses, reserved once, whose beginning has memory
// behind it, as much as was ever needed at once. All kernels run on one stream, so what is released
// may be handed out again at once: whatever uses it next comes later in the stream. A graph has an
// arena of its own, for it runs again and again.
namespace attune::kernels::cuda {
namespace {

// The driver's functions for addresses and what is behind them, which the runtime has no names for.
// Looked up when first needed: a program that is linked with the driver starts on no machine
// without one.
struct Driver {
  decltype(&cuMemAddressReserve) reserve_addresses = nullptr;
  decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemAddressFree) free_addresses = nullptr;
};

template <typename Function>
void look_up(Function& function, const char* name) {
  constexpr unsigned kSince = 10020;  // the version of CUDA that introduced these functions
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check(cudaGetDriverEntryPointByVersion(name, &address, kSince, cudaEnableDefault, &found),
        "looking up a function of the driver");
  if (found != cudaDriverEntryPointSuccess) {
    throw Error(std::string("cuda: the driver has no function ") + name);
  }
  function = reinterpret_cast<Function>(address);
}

const Driver& driver() {
  static const Driver instance = [] {
    Driver found;
    look_up(found.reserve_addresses, "cuMemAddressReserve");
    look_up(found.granularity, "cuMemGetAllocationGranularity");
    look_up(found.create, "cuMemCreate");
    look_up(found.map, "cuMemMap");
    look_up(found.set_access, "cuMemSetAccess");
    look_up(found.unmap, "cuMemUnmap");
    look_up(found.release, "cuMemRelease");
    look_up(found.free_addresses, "cuMemAddressFree");
    return found;
  }();
  return instance;
}

// The driver's error numbers are the runtime's.
void check_driver(CUresult result, const char* what) {
  check(static_cast<cudaError_t>(result), what);
}

class DeviceMemory {
 public:
  explicit DeviceMemory(int device);
  /// Nothing of it may be in use, or under way.
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* allocate(std::int64_t bytes);
  void release(void* block, std::int64_t bytes) noexcept;
  /// Gives back what is free at the end. Nothing may be under way.
  void trim() noexcept;
  std::int64_t idle() const { return arena_.size() - arena_.in_use(); }
  bool in_use() const { return arena_.in_use() > 0; }
  bool contains(const void* block) const {
    const auto address = reinterpret_cast<CUdeviceptr>(block);
    return address >= base_ && address - base_ < static_cast<CUdeviceptr>(most_);
  }

 private:
  bool grow(std::int64_t bytes);

  CUmemAllocationProp properties_{};
  std::int64_t granularity_ = 0;
  std::int64_t most_ = 0;  // bytes of the device, and addresses reserved
  CUdeviceptr base_ = 0;
  Arena arena_;
  std::vector<std::int64_t> pieces_;  // sizes of what has been mapped, in this order from base_
};

DeviceMemory::DeviceMemory(int device) {
  properties_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties_.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties_.location.id = device;
  std::size_t granularity = 0;
  check_driver(driver().granularity(&granularity, &properties_, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
               "asking for the size of memory's pages");
  granularity_ = static_cast<std::int64_t>(granularity);
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the size of the memory");
  most_ = (static_cast<std::int64_t>(total) + granularity_ - 1) / granularity_ * granularity_;
  check_driver(driver().reserve_addresses(&base_, static_cast<std::size_t>(most_), 0, 0, 0),
               "reserving addresses");
}

DeviceMemory::~DeviceMemory() {
  trim();
  driver().free_addresses(base_, static_cast<std::size_t>(most_));
}

bool DeviceMemory::grow(std::int64_t bytes) {
  bytes = (bytes + granularity_ - 1) / granularity_ * granularity_;
  if (bytes > most_ - arena_.size()) return false;
  const auto size = static_cast<std::size_t>(bytes);
  const CUdeviceptr end = base_ + static_cast<CUdeviceptr>(arena_.size());
  CUmemGenericAllocationHandle memory{};
  const CUresult created = driver().create(&memory, size, &properties_, 0);
  if (created == CUDA_ERROR_OUT_OF_MEMORY) return false;
  check_driver(created, "allocating memory");
  const CUresult mapped = driver().map(end, size, 0, memory, 0);
  driver().release(memory);  // from now on the mapping alone holds it
  check_driver(mapped, "mapping memory");
  CUmemAccessDesc access{};
  access.location = properties_.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  const CUresult allowed = driver().set_access(end, size, &access, 1);
  if (allowed != CUDA_SUCCESS) driver().unmap(end, size);
  check_driver(allowed, "allowing access to memory");
  arena_.grow(bytes);
  pieces_.push_back(bytes);
  return true;
}

void* DeviceMemory::allocate(std::int64_t bytes) {
  if (bytes > most_) return nullptr;
  std::optional<std::int64_t> offset = arena_.allocate(bytes);
  if (!offset && grow(Arena::rounded(bytes) - arena_.free_at_end())) {
    offset = arena_.allocate(bytes);
  }
  if (!offset) return nullptr;
  return reinterpret_cast<void*>(base_ + static_cast<CUdeviceptr>(*offset));
}

void DeviceMemory::release(void* block, std::int64_t bytes) noexcept {
  arena_.release(static_cast<std::int64_t>(reinterpret_cast<CUdeviceptr>(block) - base_), bytes);
}

void DeviceMemory::trim() noexcept {
  while (!pieces_.empty() && arena_.free_at_end() >= pieces_.back()) {
    arena_.shrink(pieces_.back());
    driver().unmap(base_ + static_cast<CUdeviceptr>(arena_.size()),
                   static_cast<std::size_t>(pieces_.back()));
    pieces_.pop_back();
  }
}

struct OwnMemory {
  const void* owner;  // null: it has gone, but not all that was allocated
  std::unique_ptr<DeviceMemory> memory;
};

struct MemoryOfDevice {
  std::unique_ptr<DeviceMemory> common;
  std::vector<OwnMemory> own;
  DeviceMemory* chosen = nullptr;  // one of `own`, that allocations come from at present
};

struct Memories {
  std::mutex mutex;
  std::array<MemoryOfDevice, kMaxDevices> of_device;
};

// Never destroyed: a static tensor may be the last to go.
Memories& memories() {
  static auto* instance = new Memories;
  return *instance;
}

MemoryOfDevice& memory_of(int index) {
  return memories().of_device.at(static_cast<std::size_t>(index));
}

// Of those whose owners have gone, drops what nobody uses any more.
void drop_unused(int index) noexcept {
  std::vector<OwnMemory>& own = memory_of(index).own;
  const auto unused = [](const OwnMemory& one) { return !one.owner && !one.memory->in_use(); };
  if (std::none_of(own.begin(), own.end(), unused)) return;
  cudaStreamSynchronize(stream_of(index));
  own.erase(std::remove_if(own.begin(), own.end(), unused), own.end());
}

// Whether each block is allocated by itself, so that a sanitizer sees where it ends: one that
// watches an emulated GPU, or compute-sanitizer, whose user says so.
bool separate_blocks() {
  static const bool separate = kSanitized || std::getenv("ATTUNE_CUDA_SEPARATE_BLOCKS") != nullptr;
  return separate;
}

void* allocate_alone(std::int64_t bytes) {
  void* block = nullptr;
  const cudaError_t error = cudaMalloc(&block, static_cast<std::size_t>(bytes));
  if (error != cudaErrorMemoryAllocation) check(error, "allocating memory");
  cudaGetLastError();
  return block;
}

}  // namespace

void* allocate_block(std::int64_t bytes) {
  const std::lock_guard lock(memories().mutex);
  MemoryOfDevice& memory = memory_of(current_device());
  if (memory.chosen != nullptr) return memory.chosen->allocate(bytes);
  if (separate_blocks()) return allocate_alone(bytes);
  if (!memory.common) memory.common = std::make_unique<DeviceMemory>(current_device());
  return memory.common->allocate(bytes);
}

void release_block(int index, void* block, std::int64_t bytes) noexcept {
  const std::lock_guard lock(memories().mutex);
  MemoryOfDevice& memory = memory_of(index);
  for (OwnMemory& own : memory.own) {
    if (!own.memory->contains(block)) continue;
    own.memory->release(block, bytes);
    return drop_unused(index);
  }
  if (separate_blocks()) {
    cudaFree(block);
  } else {
    memory.common->release(block, bytes);
  }
}

void begin_own_memory(int index, const void* owner) {
  const std::lock_guard lock(memories().mutex);
  MemoryOfDevice& memory = memory_of(index);
  if (memory.common) {  // what it has left over is wanted elsewhere now
    cudaStreamSynchronize(stream_of(index));
    memory.common->trim();
  }
  memory.own.push_back({owner, std::make_unique<DeviceMemory>(index)});
  memory.chosen = memory.own.back().memory.get();
}

void end_own_memory(int index) noexcept {
  const std::lock_guard lock(memories().mutex);
  memory_of(index).chosen = nullptr;
}

void abandon_own_memory(int index, const void* owner) noexcept {
  const std::lock_guard lock(memories().mutex);
  for (OwnMemory& own : memory_of(index).own) {
    if (own.owner == owner) own.owner = nullptr;
  }
  drop_unused(index);
}

std::int64_t free_bytes(int index) noexcept {
  std::size_t free = 0;
  std::size_t total = 0;
  cudaSetDevice(index);
  cudaMemGetInfo(&free, &total);
  cudaSetDevice(current_device());
  return static_cast<std::int64_t>(free) + idle_bytes(index);
}

std::int64_t idle_bytes(int index) noexcept {
  const std::lock_guard lock(memories().mutex);
  const std::unique_ptr<DeviceMemory>& memory = memory_of(index).common;
  return memory ? memory->idle() : 0;
}

void trim_blocks(int index) noexcept {
  const std::lock_guard lock(memories().mutex);
  const std::unique_ptr<DeviceMemory>& memory = memory_of(index).common;
  if (!memory) return;
  cudaStreamSynchronize(stream_of(index));
  memory->trim();
}

}  // namespace attune::kernels::cuda
