#pragma once

#include <atomic>
#include <cstddef>

#include "tests/emulation/thread_block.h"

// The instructions of kernels/cuda/gpu.h, doing what the hardware's documentation says they do: PTX
// ISA, sections "cp.async", "ldmatrix" and "mma".
namespace emulation {

/// Rows that ldmatrix had to wait for, because another row of the same matrix came from the same
/// banks of shared memory. Counted over all kernels since the start.
extern std::atomic<long> bank_conflicts;

/// The copy takes place when cp_async_wait() demands it; until then the target is a NaN.
void cp_async_16(void* to, const void* from, bool valid, Where where);
void cp_async_commit();
void cp_async_wait(std::size_t groups_left);

void ldmatrix_x4(unsigned (&r)[4], const void* row, Where where);

unsigned to_tf32(unsigned x);
unsigned to_bf16_pair(unsigned low, unsigned high);
void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Where where);
void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Where where);

}  // namespace emulation
