#pragma once

#include <cstdint>

// Where the bytes of Device::cpu come from. A training step asks for the same sizes again and
// again; giving them back to the system in between would cost a page fault for every 4 KB, tens of
// milliseconds a step. So blocks are kept, by size, for the next one who asks.
namespace attune::kernels {

/// Uninitialised memory, aligned to a cache line; null if there is none. Thread-safe.
void* allocate_block(std::int64_t bytes) noexcept;

/// Gives back what allocate_block(bytes) returned.
void release_block(void* block, std::int64_t bytes) noexcept;

/// Bytes in blocks that nobody uses at present.
std::int64_t idle_block_bytes() noexcept;

/// Returns these to the system.
void trim_blocks() noexcept;

}  // namespace attune::kernels
