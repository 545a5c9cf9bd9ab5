#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "attune/kernels/cuda/runtime.h"
#if !defined(__CUDACC__)
#include <emulated_gpu.h>
#endif

// What the kernels of this folder include: the CUDA language, and the few things that it has no
// portable words for. The same sources are compiled for a GPU by nvcc, and by the C++ compiler to
// be executed on the CPU: docs/cuda.md explains how. Everything that differs between the two is
// below.
namespace attune::kernels::cuda {

/// kernel<<<grid, block, shared_bytes, stream>>>(arguments...), which does nothing for an empty
/// grid and throws Error if it cannot be started.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr std::size_t kDefaultLimit = 48 << 10;  // more than that has to be asked for
  if (shared_bytes > kDefaultLimit) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "asking for shared memory");
  }
  const cudaLaunchConfig_t config{grid, block, shared_bytes, stream, nullptr, 0};
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "launching a kernel");
}

#if defined(__CUDACC__)  // else <emulated_gpu.h> has all of this

/// The shared memory of this block, as one struct: its size is what launch() is given. In its first
/// use it holds anything, and no constructor has run.
template <typename Shared>
__device__ Shared& shared_memory() {
  extern __shared__ float4 bytes[];
  return *reinterpret_cast<Shared*>(bytes);
}

/// Begins to copy 16 bytes from global to shared memory, or to write zeros there unless `valid`
/// (`from` must point into an allocation all the same). Both addresses are multiples of 16.
__device__ __forceinline__ void cp_async_16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}

/// Closes a group of copies: all that this thread began since the last call.
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most `GroupsLeft` of this thread's groups are under way. Other threads see the
/// copies after a barrier.
template <int GroupsLeft>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GroupsLeft) : "memory");
}

/// Loads four matrices of 8 rows of 16 bytes from shared memory. Lane l holds the address of row
/// l % 8 of matrix l / 8, and gets as r[i] the four bytes (l % 4) of row l / 4 of matrix i.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// Rounds the float with these bits to the 10 bits of mantissa of tf32.
__device__ __forceinline__ unsigned to_tf32(unsigned x) {
  unsigned y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
  return y;
}

/// Rounds the floats with these bits to bfloat16, `low` to the lower half of the result.
__device__ __forceinline__ unsigned to_bf16_pair(unsigned low, unsigned high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
      : "=r"(y)
      : "f"(__uint_as_float(high)), "f"(__uint_as_float(low)));
  return y;
}

/// d += a b for one warp: a [16, 8] and b [8, 8] in tf32, d [16, 8] in float. With g = lane / 4 and
/// t = lane % 4, a lane holds a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4]; b[t, g],
/// b[t + 4, g]; d[g, 2 t], d[g, 2 t + 1], d[g + 8, 2 t], d[g + 8, 2 t + 1].
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// The same with a [16, 16] and b [16, 8] in bfloat16, two to a register, the first in its lower
/// half: a[g, 2 t...], a[g + 8, 2 t...], a[g, 2 t + 8...], a[g + 8, 2 t + 8...]; b[2 t..., g],
/// b[2 t + 8..., g]; d as above.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

}  // namespace attune::kernels::cuda
