// Keeps 128 sums in each of 1024 threads, which have 64 registers each: a build has to refuse it.
__global__ void __launch_bounds__(1024) spilling(float* y, const float* x, int count) {
  constexpr int kSums = 128;
  float sums[kSums] = {};
  for (int k = 0; k < count; ++k) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] += x[k * kSums + i] * x[k + i * count];
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) y[i] = sums[i];
}
