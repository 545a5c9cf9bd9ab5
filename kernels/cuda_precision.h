#pragma once

#include <cstdint>
#include <string>

namespace attune {

/// What convolutions on a GPU multiply floats as. Sums, and all that is stored, are floats in any
/// case.
enum class CudaPrecision : std::uint8_t {
  fp32,  ///< floats, on the ordinary units
  tf32,  ///< rounded to 10 bits of mantissa, on the tensor cores
  bf16,  ///< rounded to 7 bits of mantissa, on the tensor cores
};

/// "fp32", "tf32" or "bf16".
const char* to_string(CudaPrecision precision);

/// The inverse of to_string(). Throws Error, listing the choices, for any other text.
CudaPrecision parse_cuda_precision(const std::string& text);

/// Chooses for the whole process from now on; the default is `fp32`. Grouped convolutions and those
/// of doubles are not affected. docs/cuda_ladder.md has the errors.
void set_cuda_precision(CudaPrecision precision);

CudaPrecision cuda_precision();

}  // namespace attune
