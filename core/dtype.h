#pragma once

#include <cstdint>
#include <string>

#include "attune/core/error.h"

namespace attune {

/// Element types. Networks run in float32 (or float64, for gradient checks); labels and positions
/// are int64, pixels and truth values uint8.
enum class DType : std::uint8_t { float32, float64, int64, uint8 };

/// "float32", ...
const char* to_string(DType dtype);

/// Bytes of one element.
constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return 4;
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::uint8:
      break;
  }
  return 1;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64;
}

/// The DType of a C++ element type.
template <typename T>
inline constexpr DType dtype_of = DType::uint8;
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::int64;

/// Calls `f` with a zero of the C++ type behind a floating dtype:
///
///     visit_floating(x.dtype(), "relu", [&]<typename T>(T) { ... x.data<T>() ... });
///
/// Throws Error, beginning with `op`, for other dtypes.
template <typename F>
decltype(auto) visit_floating(DType dtype, const char* op, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    default:
      throw Error(std::string(op) + ": needs float32 or float64, not " + to_string(dtype));
  }
}

/// As visit_floating(), for all dtypes.
template <typename F>
decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    case DType::int64:
      return f(std::int64_t{});
    case DType::uint8:
      break;
  }
  return f(std::uint8_t{});
}

}  // namespace attune
