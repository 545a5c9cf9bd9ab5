#pragma once

#include "tests/emulation/instructions.h"

// The part of kernels/cuda/gpu.h that is written in PTX there, for execution on the CPU. The last
// argument is the line that a mistake is reported at.
namespace attune::kernels::cuda {

using emulation::Where;

template <typename Shared>
Shared& shared_memory(Where where = Where::current()) {
  return *static_cast<Shared*>(emulation::shared_memory(sizeof(Shared), where));
}
inline void cp_async_16(void* to, const void* from, bool valid, Where where = Where::current()) {
  emulation::cp_async_16(to, from, valid, where);
}
inline void cp_async_commit() { emulation::cp_async_commit(); }
template <int GroupsLeft>
void cp_async_wait() {
  emulation::cp_async_wait(GroupsLeft);
}
inline void ldmatrix_x4(unsigned (&r)[4], const void* row, Where where = Where::current()) {
  emulation::ldmatrix_x4(r, row, where);
}
inline unsigned to_tf32(unsigned x) { return emulation::to_tf32(x); }
inline unsigned to_bf16_pair(unsigned low, unsigned high) {
  return emulation::to_bf16_pair(low, high);
}
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     Where where = Where::current()) {
  emulation::mma_tf32(d, a, b, where);
}
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     Where where = Where::current()) {
  emulation::mma_bf16(d, a, b, where);
}

}  // namespace attune::kernels::cuda
