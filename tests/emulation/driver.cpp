#include <cuda.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "tests/emulation/runtime.h"

namespace {

constexpr std::size_t kGranularity = std::size_t{64} << 10;  // 2 MiB on a GPU

void* pointer(CUdeviceptr address) {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
}

}  // namespace

CUresult cuMemGetAllocationGranularity(std::size_t* granularity,
                                       const CUmemAllocationProp* /*properties*/,
                                       CUmemAllocationGranularity_flags /*which*/) {
  *granularity = kGranularity;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr* address, std::size_t bytes, std::size_t /*alignment*/,
                             CUdeviceptr /*wanted*/, unsigned long long /*flags*/) {
  void* const range =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<std::uintptr_t>(range);
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, std::size_t bytes) {
  return munmap(pointer(address), bytes) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* memory, std::size_t bytes,
                     const CUmemAllocationProp* /*properties*/, unsigned long long /*flags*/) {
  if (bytes == 0 || bytes % kGranularity != 0) return CUDA_ERROR_INVALID_VALUE;
  *memory = bytes;
  return emulation::take_device_memory(bytes) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

// A NaN until written. Who has no access yet, sees nothing of it.
CUresult cuMemMap(CUdeviceptr address, std::size_t bytes, std::size_t offset,
                  CUmemGenericAllocationHandle memory, unsigned long long /*flags*/) {
  if (bytes != memory || offset != 0) return CUDA_ERROR_INVALID_VALUE;
  if (mprotect(pointer(address), bytes, PROT_READ | PROT_WRITE) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::memset(pointer(address), 0xff, bytes);
  mprotect(pointer(address), bytes, PROT_NONE);
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr address, std::size_t bytes, const CUmemAccessDesc* /*access*/,
                        std::size_t /*count*/) {
  const bool allowed = mprotect(pointer(address), bytes, PROT_READ | PROT_WRITE) == 0;
  return allowed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemUnmap(CUdeviceptr address, std::size_t bytes) {
  madvise(pointer(address), bytes, MADV_DONTNEED);
  mprotect(pointer(address), bytes, PROT_NONE);
  emulation::return_device_memory(bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle /*memory*/) { return CUDA_SUCCESS; }

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function,
                                             unsigned /*version*/, unsigned long long /*flags*/,
                                             cudaDriverEntryPointQueryResult* found) {
  const auto look_up = [&](const char* known, auto* address) {
    if (std::strcmp(name, known) == 0) *function = reinterpret_cast<void*>(address);
  };
  *function = nullptr;
  look_up("cuMemGetAllocationGranularity", cuMemGetAllocationGranularity);
  look_up("cuMemAddressReserve", cuMemAddressReserve);
  look_up("cuMemAddressFree", cuMemAddressFree);
  look_up("cuMemCreate", cuMemCreate);
  look_up("cuMemMap", cuMemMap);
  look_up("cuMemSetAccess", cuMemSetAccess);
  look_up("cuMemUnmap", cuMemUnmap);
  look_up("cuMemRelease", cuMemRelease);
  *found = *function != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
