#pragma once

#include "attune/kernels/cuda/gpu.h"

// A tensor core multiplies small matrices, whose elements are spread over the registers of a warp:
// fragments. This file has the loop that all kernels for them share. Copies from global to shared
// memory run some slices ahead, in a ring of stages (cp.async); from the slice that has arrived,
// each warp takes fragments, and multiplies every one of its rows with every one of its columns.
namespace attune::kernels::cuda::mma {

/// 16 rows of the left factor, two times 8 terms of the sums, as mma_tf32 (gpu.h) wants them: lane
/// l has of each 8 terms l % 4 and l % 4 + 4 of rows l / 4 and l / 4 + 8. The bits of floats.
struct FragmentA {
  unsigned v[2][4];
};

/// 8 columns of the right factor: lane l has the same terms of column l / 4.
struct FragmentB {
  unsigned v[2][2];
};

// What is left to each precision is to round and to multiply. Tensors of bf16 will need another way
// to fetch fragments, but nothing else.

struct Tf32 {
  static __device__ void round(FragmentA& a) {
#pragma unroll
    for (int i = 0; i < 8; ++i) a.v[i / 4][i % 4] = to_tf32(a.v[i / 4][i % 4]);
  }
  static __device__ void round(FragmentB& b) {
#pragma unroll
    for (int i = 0; i < 4; ++i) b.v[i / 2][i % 2] = to_tf32(b.v[i / 2][i % 2]);
  }
  static __device__ void multiply(float (&sums)[4], const FragmentA& a, const FragmentB& b) {
    mma_tf32(sums, a.v[0], b.v[0]);
    mma_tf32(sums, a.v[1], b.v[1]);
  }
};

/// One instruction takes 16 terms, two neighbours in a register. But the order of the terms of a
/// sum is free as long as both factors have the same: so terms t and t + 4, which a lane has at
/// hand, count as neighbours.
struct Bf16 {
  static __device__ void round(FragmentA& a) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      a.v[0][half * 2] = to_bf16_pair(a.v[half][0], a.v[half][2]);
      a.v[0][half * 2 + 1] = to_bf16_pair(a.v[half][1], a.v[half][3]);
    }
  }
  static __device__ void round(FragmentB& b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) b.v[0][half] = to_bf16_pair(b.v[half][0], b.v[half][1]);
  }
  static __device__ void multiply(float (&sums)[4], const FragmentA& a, const FragmentB& b) {
    mma_bf16(sums, a.v[0], b.v[0]);
  }
};

/// A block's tile of kRows x kColumns of the product. Each of kWarpsDown x kWarpsAcross warps
/// computes a part of it, kDown x kAcross fragments of 16 x 8 sums, of which a lane holds rows
/// l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
template <int kRows_, int kColumns_, int kWarpsDown_, int kWarpsAcross_, int kStages_>
struct WarpTiles {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kStages = kStages_;
  static constexpr int kWarpsDown = kWarpsDown_, kWarpsAcross = kWarpsAcross_;
  static constexpr int kThreads = kWarpsDown * kWarpsAcross * 32;
  static constexpr int kWarpRows = kRows / kWarpsDown, kWarpColumns = kColumns / kWarpsAcross;
  static constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 8;
  static constexpr int kDepth = 32;  ///< terms of the sums in a slice
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 8 == 0);

  using Sums = float[kDown][kAcross][4];

  static __device__ int lane() { return threadIdx.x % 32; }
  static __device__ int warp_down() { return threadIdx.x / 32 / kWarpsAcross; }
  /// This warp's first row and column.
  static __device__ int warp_row() { return warp_down() * kWarpRows; }
  static __device__ int warp_column() { return threadIdx.x / 32 % kWarpsAcross * kWarpColumns; }

  /// Adds up `slices` slices of the products. load(stage) begins to copy this thread's share of the
  /// next one; when a slice is there, visit(stage) is called once, and fetch_a(i, stage, term) and
  /// fetch_b(j, stage, term) return fragments of it.
  template <typename Math, typename Load, typename Visit, typename FetchA, typename FetchB>
  static __device__ void multiply(Sums& sums, int slices, const Load& load, const Visit& visit,
                                  const FetchA& fetch_a, const FetchB& fetch_b) {
    for (int slice = 0; slice < kStages - 1; ++slice) {
      if (slice < slices) load(slice);
      cp_async_commit();
    }
    for (int slice = 0; slice < slices; ++slice) {
      cp_async_wait<kStages - 2>();
      __syncthreads();  // this slice is there for all, and all are done with the one before, ...
      const int ahead = slice + kStages - 1;
      if (ahead < slices) load(ahead % kStages);  // ... whose place the next one takes
      cp_async_commit();
      const int stage = slice % kStages;
      visit(stage);
#pragma unroll
      for (int term = 0; term < kDepth; term += 16) {
        FragmentA a[kDown];
        FragmentB b[kAcross];
#pragma unroll
        for (int i = 0; i < kDown; ++i) Math::round(a[i] = fetch_a(i, stage, term));
#pragma unroll
        for (int j = 0; j < kAcross; ++j) Math::round(b[j] = fetch_b(j, stage, term));
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
#pragma unroll
          for (int j = 0; j < kAcross; ++j) Math::multiply(sums[i][j], a[i], b[j]);
        }
      }
    }
  }
};

}  // namespace attune::kernels::cuda::mma
