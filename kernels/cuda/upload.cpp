#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/runtime.h"

// Copies have a stream of their own, beside the one that kernels run on. Two events order the two
// streams where they have to be: a copy waits for the kernels that read what it overwrites, and
// kernels wait for the copy of what they read. The host waits for neither.
namespace attune::kernels::cuda {

struct Upload::Parts {
  int device = 0;
  std::int64_t bytes = 0;
  void* pinned = nullptr;  // only from such memory does a GPU copy by itself
  cudaEvent_t used = nullptr;
  cudaEvent_t copied = nullptr;

  Parts() = default;
  ~Parts() {
    cudaSetDevice(device);
    if (copied != nullptr) cudaEventSynchronize(copied);
    cudaFreeHost(pinned);
    if (used != nullptr) cudaEventDestroy(used);
    if (copied != nullptr) cudaEventDestroy(copied);
    cudaSetDevice(current_device());
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
};

Upload::Upload(std::int64_t bytes) : parts_(std::make_unique<Parts>()) {
  parts_->device = current_device();
  parts_->bytes = bytes;
  check(cudaHostAlloc(&parts_->pinned, static_cast<std::size_t>(bytes), cudaHostAllocPortable),
        "allocating host memory");
  for (cudaEvent_t* event : {&parts_->used, &parts_->copied}) {
    check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
  }
}

Upload::~Upload() = default;

void* Upload::host() {
  check(cudaEventSynchronize(parts_->copied), "waiting for a copy to the device");
  return parts_->pinned;
}

void Upload::begin(void* to) {
  check(cudaEventRecord(parts_->used, stream()), "recording an event");
  check(cudaStreamWaitEvent(copy_stream(), parts_->used, 0), "waiting for an event");
  check(cudaMemcpyAsync(to, parts_->pinned, static_cast<std::size_t>(parts_->bytes),
                        cudaMemcpyHostToDevice, copy_stream()),
        "copying to the device");
  check(cudaEventRecord(parts_->copied, copy_stream()), "recording an event");
}

void Upload::end() {
  check(cudaStreamWaitEvent(stream(), parts_->copied, 0), "waiting for an event");
}

}  // namespace attune::kernels::cuda
