#include "attune/kernels/cuda/runtime.h"

#include <array>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/error.h"

namespace attune::kernels::cuda {
namespace {

constexpr int kOldestArchitecture = 8;  // cmake/cuda.cmake: nothing is compiled for an older one

thread_local int current = 0;

struct State {
  cudaStream_t stream = nullptr;
  cudaStream_t copy_stream = nullptr;
  BadTarget* bad_target = nullptr;
};

struct States {
  std::mutex mutex;
  std::array<State, kMaxDevices> of_device{};
};

// Never destroyed: a static tensor may be the last to use its device.
States& states() {
  static auto* instance = new States;
  return *instance;
}

[[noreturn]] void fail(const std::string& op, int index, const std::string& reason) {
  throw Error(op + ": cuda:" + std::to_string(index) + " is not available, " + reason);
}

// Throws unless there is such a GPU and code for it. The answer is remembered for a GPU that will
// do, so that a machine may be put right while the program runs.
void check_device(int index, const char* op) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess && error != cudaErrorNoDevice) {
    cudaGetLastError();
    fail(op, index, std::string("there is no working driver: ") + cudaGetErrorString(error));
  }
  if (index < 0 || index >= count || index >= kMaxDevices) {
    cudaGetLastError();
    fail(op, index, "there are " + std::to_string(count) + " GPUs");
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for a device's properties");
  if (properties.major < kOldestArchitecture) {
    fail(op, index,
         std::string(properties.name) + " has compute capability " +
             std::to_string(properties.major) + "." + std::to_string(properties.minor) +
             ", and 8.0 is the least");
  }
}

// Turns what a kernel has reported into an Error, once.
void throw_reported() {
  BadTarget& report = *bad_target();
  if (report.row < 0) return;
  const BadTarget found = std::exchange(report, {});
  throw Error("softmax_cross_entropy: the target of row " + std::to_string(found.row) + " is " +
              std::to_string(found.target) + ", but there are " + std::to_string(found.classes) +
              " classes");
}

void refuse_while_recording(const char* what) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream(), &status), what);
  if (status == cudaStreamCaptureStatusNone) return;
  throw Error(std::string("cuda: ") + what + ": a step that is being recorded cannot wait");
}

void wait_for_stream(const char* what) {
  check(cudaStreamSynchronize(stream()), what);
  throw_reported();
}

void copy_and_wait(void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind,
                   const char* what) {
  refuse_while_recording(what);
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, stream()), what);
  wait_for_stream(what);
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // which the next call would report as well
  throw Error(std::string("cuda: ") + what + ": " + cudaGetErrorString(error));
}

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

int current_device() { return current; }

void use_device(int index, const char* op) {
  const bool known = index >= 0 && index < kMaxDevices && stream_of(index) != nullptr;
  if (!known) check_device(index, op);
  check(cudaSetDevice(index), "choosing a device");
  current = index;
  if (known) return;
  const std::lock_guard lock(states().mutex);
  State& own = states().of_device.at(static_cast<std::size_t>(index));
  if (own.stream != nullptr) return;  // another thread was faster
  void* host_memory = nullptr;
  check(cudaHostAlloc(&host_memory, sizeof(BadTarget), cudaHostAllocPortable),
        "allocating host memory");
  own.bad_target = new (host_memory) BadTarget;
  check(cudaStreamCreateWithFlags(&own.copy_stream, cudaStreamNonBlocking), "creating a stream");
  check(cudaStreamCreateWithFlags(&own.stream, cudaStreamNonBlocking), "creating a stream");
}

cudaStream_t stream() { return stream_of(current); }

cudaStream_t stream_of(int index) noexcept {
  const std::lock_guard lock(states().mutex);
  return states().of_device[static_cast<std::size_t>(index)].stream;
}

cudaStream_t copy_stream() {
  const std::lock_guard lock(states().mutex);
  return states().of_device[static_cast<std::size_t>(current)].copy_stream;
}

BadTarget* bad_target() {
  const std::lock_guard lock(states().mutex);
  return states().of_device[static_cast<std::size_t>(current)].bad_target;
}

void copy_on_device(void* to, const void* from, std::int64_t bytes) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice,
                        stream()),
        "copying on the device");
}

void copy_to_device(void* to, const void* from, std::int64_t bytes) {
  copy_and_wait(to, from, bytes, cudaMemcpyHostToDevice, "copying to the device");
}

void copy_to_host(void* to, const void* from, std::int64_t bytes) {
  copy_and_wait(to, from, bytes, cudaMemcpyDeviceToHost, "copying to the host");
}

void wait() {
  refuse_while_recording("waiting for kernels");
  wait_for_stream("waiting for kernels");
}

}  // namespace attune::kernels::cuda
