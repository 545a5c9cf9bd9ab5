#pragma once

#include <cstdint>
#include <functional>

namespace attune {

/// Sets how many threads the CPU kernels use (at least 1). The default is one per available core,
/// or OMP_NUM_THREADS. Results do not depend on it.
void set_num_threads(int count);

/// How many threads the CPU kernels use when called on this thread.
int num_threads();

/// Calls body(i) for every i in [0, count), on num_threads() threads at once. Kernels called by one
/// of them use that thread alone, so pieces of work that have nothing to do with each other need
/// never wait for each other. Rethrows what a body throws, if any does, the first it comes upon,
/// when no other runs any more.
void run_in_parallel(std::int64_t count, const std::function<void(std::int64_t)>& body);

}  // namespace attune
