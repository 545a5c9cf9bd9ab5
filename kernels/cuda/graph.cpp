#include <cuda_runtime.h>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda/runtime.h"

// A graph is what a stream was given between two calls, kept with all its arguments, to be given to
// the GPU again as a whole. The addresses among the arguments have to stay those of the same
// tensors, so what is allocated meanwhile comes from memory of the graph's own.
namespace attune::kernels::cuda {

struct Graph::Parts {
  int device = 0;
  bool recording = true;
  cudaGraphExec_t executable = nullptr;

  Parts() = default;
  ~Parts() {
    cudaSetDevice(device);
    if (recording) end_recording();
    if (executable != nullptr) {
      cudaStreamSynchronize(stream_of(device));
      cudaGraphExecDestroy(executable);
    }
    abandon_own_memory(device, this);
    cudaSetDevice(current_device());
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  cudaError_t end_recording() noexcept {
    recording = false;
    end_own_memory(device);
    cudaGraph_t graph = nullptr;
    cudaError_t error = cudaStreamEndCapture(stream_of(device), &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&executable, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (error != cudaSuccess) cudaGetLastError();
    return error;
  }
};

Graph::Graph() : parts_(std::make_unique<Parts>()) {
  parts_->device = current_device();
  begin_own_memory(parts_->device, parts_.get());
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "beginning to capture");
}

Graph::~Graph() = default;

void Graph::finish() { check(parts_->end_recording(), "capturing a step"); }

void Graph::launch() {
  check(cudaGraphLaunch(parts_->executable, stream()), "launching a captured step");
}

}  // namespace attune::kernels::cuda
