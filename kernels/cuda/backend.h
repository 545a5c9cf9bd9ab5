#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

// What the rest of the library knows of CUDA. Without CUDA, no_cuda.cpp has all of this.
namespace attune::kernels::cuda {

/// How many GPUs there are; 0 without a driver or without CUDA support.
int device_count() noexcept;

/// Makes GPU `index` the one that allocations and kernels of this thread are for. Throws Error,
/// beginning with `op`, that says what is missing: CUDA support, the driver, a GPU of this number,
/// or kernels for its architecture.
void use_device(int index, const char* op);

/// The GPU last named to use_device() by this thread.
int current_device();

/// Uninitialised memory of the current GPU, aligned to 256 bytes; null if there is none left. It
/// may be released while kernels that use it are under way: what takes its place runs after them.
void* allocate_block(std::int64_t bytes);
void release_block(int index, void* block, std::int64_t bytes) noexcept;

/// Memory of GPU `index` that is neither allocated nor in anybody else's use, idle_bytes()
/// included.
std::int64_t free_bytes(int index) noexcept;
/// Memory held for later allocations, and its return, as far as nothing allocated lies behind it.
std::int64_t idle_bytes(int index) noexcept;
void trim_blocks(int index) noexcept;

/// Copies within the memory of the current GPU, after all kernels so far, without waiting.
void copy_on_device(void* to, const void* from, std::int64_t bytes);
/// Copies between the host and the current GPU, after all kernels so far, and waits.
void copy_to_device(void* to, const void* from, std::int64_t bytes);
void copy_to_host(void* to, const void* from, std::int64_t bytes);

/// Waits for all kernels and copies of the current GPU.
void wait();

/// Sends the host's bytes to the current GPU while kernels run.
class Upload {
 public:
  explicit Upload(std::int64_t bytes);
  /// Waits for the copy under way to end.
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  /// `bytes` of host memory, to be filled before begin(). Waits for the last copy from it to end.
  void* host();
  /// Begins to copy them to `to`, after all kernels so far, beside those that are launched later.
  void begin(void* to);
  /// Kernels that are launched from now on run after the copy.
  void end();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// What this thread launches on the current GPU, kept to be launched again as a whole. No other
/// thread may use the GPU before finish().
class Graph {
 public:
  /// From now on launches are recorded, and not done. Memory is allocated from an arena of the
  /// graph's own, which lives until the graph and all that was allocated from it have gone.
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// The end of what is recorded.
  void finish();
  void launch();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace attune::kernels::cuda
