#pragma once

#include <cstddef>

#include "tests/emulation/thread_block.h"
#include "tests/emulation/vector_types.h"

// The functions of the CUDA runtime that attune calls. The device's memory is ordinary memory,
// which AddressSanitizer hides while no kernel and no copy is under way: a device pointer used by
// the host is then an error, as on a machine with a GPU.

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault,
};
enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess,
  cudaDriverEntryPointSymbolNotFound,
};
inline constexpr unsigned long long cudaEnableDefault = 0;
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct EmulatedStream;
struct EmulatedEvent;
struct EmulatedGraph;
using cudaStream_t = EmulatedStream*;
using cudaEvent_t = EmulatedEvent*;
using cudaGraph_t = EmulatedGraph*;
using cudaGraphExec_t = EmulatedGraph*;

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  int major;
  int minor;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* found);
inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

inline constexpr unsigned cudaEventDisableTiming = 2;
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

cudaError_t cudaMalloc(void** address, std::size_t bytes);
/// Memory that the host may use as well, so AddressSanitizer hides nothing of it.
cudaError_t cudaMallocManaged(void** address, std::size_t bytes);
cudaError_t cudaFree(void* address);
inline constexpr unsigned cudaHostAllocPortable = 1;
/// Memory of the host that kernels may use as well.
cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* address);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemsetAsync(void* address, int value, std::size_t bytes,
                            cudaStream_t stream = nullptr);

namespace emulation {

/// While one lives, the device's memory may be used.
class DeviceMemoryInUse {
 public:
  DeviceMemoryInUse();
  ~DeviceMemoryInUse();
  DeviceMemoryInUse(const DeviceMemoryInUse&) = delete;
  DeviceMemoryInUse& operator=(const DeviceMemoryInUse&) = delete;
};

/// What the runtime is to answer from now on instead of doing its work; cudaSuccess: nothing.
void break_driver(cudaError_t error);
/// The same for the launch of kernels alone, cuBLAS's included.
void break_launches(cudaError_t error);
cudaError_t launch_error();
/// The same for who waits for a stream: a kernel has failed.
void break_streams(cudaError_t error);
/// The device's architecture; 9.0 at the start.
void set_compute_capability(int major, int minor);
/// How much memory the device has; 1 GiB at the start.
void set_device_memory(std::size_t bytes);
/// Counts memory as used, if there is so much; and as free again.
bool take_device_memory(std::size_t bytes);
void return_device_memory(std::size_t bytes);

/// Gives a stream something to do; none: does it at once.
void enqueue(EmulatedStream* stream, std::function<void()> work);
/// Waits for all streams, whether or not one is recorded.
void work_off_streams();
/// How often somebody has waited for a stream.
long times_synchronized();

/// Keeps the error for cudaGetLastError(), and returns it.
cudaError_t remember(cudaError_t error);

cudaError_t launch(dim3 grid, dim3 block, std::size_t shared_bytes, EmulatedStream* stream,
                   std::function<void()> kernel);

}  // namespace emulation

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* /*kernel*/, cudaFuncAttribute /*attribute*/, int value) {
  return value <= static_cast<int>(emulation::kMostSharedBytes) ? cudaSuccess
                                                                : cudaErrorInvalidValue;
}

struct cudaLaunchConfig_t {  // gridDim and blockDim are taken, see cuda_runtime.h
  dim3 grid;
  dim3 block;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return emulation::launch(config->grid, config->block, config->dynamicSmemBytes, config->stream,
                           [=] { kernel(arguments...); });
}
