#include <string>

#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/error.h"

// Stands in for this folder in a build without CUDA. No tensor can be on a GPU, since use_device()
// lets nobody pass; whatever else there is cannot be reached.
namespace attune::kernels::cuda {

int device_count() noexcept { return 0; }

void use_device(int index, const char* op) {
  throw Error(std::string(op) + ": cuda:" + std::to_string(index) +
              " is not available, attune was built without CUDA support (ATTUNE_CUDA=OFF)");
}

int current_device() { return 0; }
void* allocate_block(std::int64_t /*bytes*/) { return nullptr; }
void release_block(int /*index*/, void* /*block*/, std::int64_t /*bytes*/) noexcept {}
std::int64_t free_bytes(int /*index*/) noexcept { return 0; }
std::int64_t idle_bytes(int /*index*/) noexcept { return 0; }
void trim_blocks(int /*index*/) noexcept {}
void copy_on_device(void* /*to*/, const void* /*from*/, std::int64_t /*bytes*/) {}
void copy_to_device(void* /*to*/, const void* /*from*/, std::int64_t /*bytes*/) {}
void copy_to_host(void* /*to*/, const void* /*from*/, std::int64_t /*bytes*/) {}
void wait() {}

struct Upload::Parts {};
Upload::Upload(std::int64_t /*bytes*/) {}
Upload::~Upload() = default;
void* Upload::host() { return nullptr; }
void Upload::begin(void* /*to*/) {}
void Upload::end() {}

struct Graph::Parts {};
Graph::Graph() = default;
Graph::~Graph() = default;
void Graph::finish() {}
void Graph::launch() {}

}  // namespace attune::kernels::cuda
