#include "attune/kernels/cuda_precision.h"

#include <atomic>

#include "attune/kernels/error.h"

namespace attune {
namespace {

std::atomic<CudaPrecision> chosen_precision{CudaPrecision::fp32};

}  // namespace

const char* to_string(CudaPrecision precision) {
  switch (precision) {
    case CudaPrecision::fp32:
      return "fp32";
    case CudaPrecision::tf32:
      return "tf32";
    case CudaPrecision::bf16:
      break;
  }
  return "bf16";
}

CudaPrecision parse_cuda_precision(const std::string& text) {
  for (const auto precision : {CudaPrecision::fp32, CudaPrecision::tf32, CudaPrecision::bf16}) {
    if (text == to_string(precision)) return precision;
  }
  throw Error("there is no CUDA precision '" + text + "': choose fp32, tf32 or bf16");
}

void set_cuda_precision(CudaPrecision precision) { chosen_precision = precision; }

CudaPrecision cuda_precision() { return chosen_precision; }

}  // namespace attune
