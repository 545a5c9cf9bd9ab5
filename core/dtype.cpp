#include "attune/core/dtype.h"

namespace attune {

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::int64:
      return "int64";
    case DType::uint8:
      break;
  }
  return "uint8";
}

}  // namespace attune
