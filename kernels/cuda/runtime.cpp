#include "attune/kernels/cuda/runtime.h"

#include <string>

#include "attune/kernels/error.h"

namespace attune::kernels::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // which would be reported by the next call as well
  throw Error(std::string("cuda: ") + what + ": " + cudaGetErrorString(error));
}

cudaStream_t stream() { return nullptr; }

}  // namespace attune::kernels::cuda
