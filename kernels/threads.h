#pragma once

namespace attune {

/// Sets how many threads the CPU kernels use (at least 1). The default is one per available core,
/// or OMP_NUM_THREADS. Results do not depend on it.
void set_num_threads(int count);

/// How many threads the CPU kernels use.
int num_threads();

}  // namespace attune
