#include "attune/kernels/block_cache.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "attune/kernels/sanitizers.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace attune::kernels {
namespace {

constexpr std::int64_t kCacheLine = 64;      // and the widest vector register
constexpr std::int64_t kHugePage = 2 << 20;  // one entry of the TLB instead of 512
constexpr int kSizesPerOctave = 8;           // so that at most 1/8 of a block is unused

/// The size of the block that `bytes` are served from: few sizes, so that blocks find a new use.
std::int64_t block_size(std::int64_t bytes) {
  const auto octave = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(bytes)));
  const std::int64_t step = std::max(kCacheLine, octave / kSizesPerOctave);
  return (bytes + step - 1) / step * step;
}

std::align_val_t alignment(std::int64_t size) {
  return std::align_val_t(static_cast<std::size_t>(size >= kHugePage ? kHugePage : kCacheLine));
}

struct Cache {
  std::mutex mutex;
  std::map<std::int64_t, std::vector<void*>> idle;  // by size, the one used last on top
  std::int64_t idle_bytes = 0;
};

/// Never destroyed: tensors of static storage duration are released after everything else.
Cache& cache() {
  static Cache& instance = *new Cache;
  return instance;
}

void* new_block(std::int64_t size) noexcept {
  void* block = ::operator new(static_cast<std::size_t>(size), alignment(size), std::nothrow);
#if defined(__linux__)
  // Advice: where the system has no huge pages to give, nothing is lost.
  if (block && size >= kHugePage) {
    madvise(block, static_cast<std::size_t>(size), MADV_HUGEPAGE);
  }
#endif
  return block;
}

}  // namespace

void* allocate_block(std::int64_t bytes) noexcept {
  constexpr std::int64_t kAnyMachine = std::int64_t{1} << 60;  // rounding up more could overflow
  if (bytes > kAnyMachine) return nullptr;
  const std::int64_t size = block_size(bytes);
  if (!kSanitized) {
    const std::lock_guard lock(cache().mutex);
    const auto found = cache().idle.find(size);
    if (found != cache().idle.end() && !found->second.empty()) {
      void* block = found->second.back();
      found->second.pop_back();
      cache().idle_bytes -= size;
      return block;
    }
  }
  void* block = new_block(size);
  if (!block) {
    trim_blocks();
    block = new_block(size);
  }
  return block;
}

void release_block(void* block, std::int64_t bytes) noexcept {
  const std::int64_t size = block_size(bytes);
  if (!kSanitized) {
    const std::lock_guard lock(cache().mutex);
    try {
      cache().idle[size].push_back(block);
      cache().idle_bytes += size;
      return;
    } catch (const std::bad_alloc&) {
      // No memory to remember it by: then it goes back.
    }
  }
  ::operator delete(block, alignment(size));
}

std::int64_t idle_block_bytes() noexcept {
  const std::lock_guard lock(cache().mutex);
  return cache().idle_bytes;
}

void trim_blocks() noexcept {
  const std::lock_guard lock(cache().mutex);
  for (auto& [size, blocks] : cache().idle) {
    for (void* block : blocks) ::operator delete(block, alignment(size));
    blocks.clear();
  }
  cache().idle_bytes = 0;
}

}  // namespace attune::kernels
