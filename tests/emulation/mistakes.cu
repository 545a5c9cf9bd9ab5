// Kernels with a mistake each, which the emulation has to find: proof that its silence means
// something. Run with the name of one; CMakeLists.txt says what the output must be, in each build.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "attune/kernels/cuda/gpu.h"

using namespace attune::kernels::cuda;

namespace {

constexpr unsigned kCount = 64;  // two warps, so that more than lockstep is needed

struct Shared {
  float values[kCount];
  float others[kCount];
};

__global__ void correct(float* y) {
  auto& shared = shared_memory<Shared>();
  const unsigned t = threadIdx.x;
  shared.values[t] = static_cast<float>(t);
  __syncthreads();
  const float value = shared.values[kCount - 1 - t];
  y[t] = value + 0 * __shfl_xor_sync(~0U, value, 1);
}

__global__ void global_out_of_bounds(float* y) { y[threadIdx.x + 1] = 1; }

__global__ void misaligned(float* y) {
  if (threadIdx.x == 0) *reinterpret_cast<float4*>(y + 1) = make_float4(1, 2, 3, 4);
}

__global__ void member_out_of_bounds(float* y) {
  auto& shared = shared_memory<Shared>();
  shared.others[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = shared.values[threadIdx.x + kCount];
}

__global__ void shared_out_of_bounds(float* y) {
  float* values = shared_memory<Shared>().values;
  y[threadIdx.x] = values[threadIdx.x + 2 * kCount];
}

__global__ void uninitialised(float* y) { y[threadIdx.x] = shared_memory<Shared>().values[0]; }

__global__ void missing_barrier(float* y) {
  auto& shared = shared_memory<Shared>();
  shared.values[threadIdx.x] = 1;
  y[threadIdx.x] = shared.values[kCount - 1 - threadIdx.x];
}

__global__ void missing_syncwarp(float* y) {
  auto& shared = shared_memory<Shared>();
  shared.values[threadIdx.x] = 1;
  y[threadIdx.x] = shared.values[threadIdx.x ^ 1U];
}

__global__ void copy_not_waited_for(float* y) {
  auto& shared = shared_memory<Shared>();
  if (threadIdx.x < kCount / 4) {
    cp_async_16(&shared.values[threadIdx.x * 4], &y[threadIdx.x * 4], true);
  }
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  y[threadIdx.x] = shared.values[threadIdx.x];
}

__global__ void blocks_write_one_address(float* y) {
  if (threadIdx.x == 0) y[0] = static_cast<float>(blockIdx.x);
}

__global__ void divergent_barriers(float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}

__global__ void lane_gone(float* y) {
  if (threadIdx.x == 3) return;
  y[threadIdx.x] = __shfl_xor_sync(~0U, 1.0F, 1);
}

__global__ void lane_not_in_mask(float* y) { y[threadIdx.x] = __shfl_sync(0xffffU, 1.0F, 0); }

__global__ void too_little_shared(float* y) { y[threadIdx.x] = shared_memory<Shared>().values[0]; }

__global__ void bank_conflicts(float* y) {
  auto& shared = shared_memory<float[32 * 32]>();
  for (unsigned i = threadIdx.x; i < 32 * 32; i += 32) shared[i] = 1;
  __syncwarp();
  unsigned r[4];
  ldmatrix_x4(r, &shared[threadIdx.x * 32]);  // rows of 128 bytes all begin in one bank
  y[threadIdx.x] = __uint_as_float(r[0]);
}

struct Mistake {
  const char* name;
  void (*kernel)(float*);
  std::size_t shared_bytes = sizeof(Shared);
  unsigned blocks = 1;
  unsigned threads = kCount;
};

const Mistake kMistakes[] = {
    {"correct", correct},
    {"global_out_of_bounds", global_out_of_bounds},
    {"misaligned", misaligned},
    {"member_out_of_bounds", member_out_of_bounds},
    {"shared_out_of_bounds", shared_out_of_bounds},
    {"uninitialised", uninitialised},
    {"missing_barrier", missing_barrier},
    {"missing_syncwarp", missing_syncwarp},
    {"copy_not_waited_for", copy_not_waited_for},
    {"blocks_write_one_address", blocks_write_one_address, 0, 8},
    {"divergent_barriers", divergent_barriers},
    {"lane_gone", lane_gone},
    {"lane_not_in_mask", lane_not_in_mask},
    {"too_little_shared", too_little_shared, 16},
    {"bank_conflicts", bank_conflicts, 32 * 32 * sizeof(float), 1, 32},
};

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGABRT, [](int) { std::_Exit(1); });  // CTest would not look at the output
  const std::string name = argc > 1 ? argv[1] : "";
  void* memory = nullptr;
  check(cudaMalloc(&memory, kCount * sizeof(float)), "allocating");
  check(cudaMemsetAsync(memory, 0, kCount * sizeof(float), stream()), "clearing");
  auto* y = static_cast<float*>(memory);
  if (name == "host_reads_device") {
    std::printf("value %g\n", static_cast<double>(y[0]));
    return 0;
  }
  for (const Mistake& mistake : kMistakes) {
    if (name != mistake.name) continue;
    launch(mistake.kernel, mistake.blocks, mistake.threads, mistake.shared_bytes, stream(), y);
    std::vector<float> values(kCount);
    check(
        cudaMemcpyAsync(values.data(), y, kCount * sizeof(float), cudaMemcpyDeviceToHost, stream()),
        "copying");
    check(cudaStreamSynchronize(stream()), "waiting");
    int nans = 0;
    for (const float value : values) nans += value != value ? 1 : 0;
    std::printf("%d NaNs, %ld bank conflicts, last value %g\n", nans,
                emulation::bank_conflicts.load(), static_cast<double>(values.back()));
    return 0;
  }
  std::fprintf(stderr, "no such mistake: '%s'\n", name.c_str());
  return 2;
}
