#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "attune/core/safetensors.h"

namespace attune {

/// Element types of files that this library reads, in the order in which files are written.
enum class FileDType : std::uint8_t { i64, f64, f32, bf16, f16, u8 };

/// "F64", ...
const char* to_string(FileDType dtype);
std::int64_t size_of(FileDType dtype);

struct SafetensorsEntry {
  std::string name;
  FileDType dtype = FileDType::f32;
  Shape shape;
  // Where its elements lie, from the first byte after the header.
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the file
  SafetensorsMetadata metadata;
};

/// The bytes before the header: its length.
inline constexpr std::int64_t kSafetensorsLengthBytes = 8;
inline constexpr const char* kSafetensorsMetadataKey = "__metadata__";

/// Throws Error about byte `offset` of a file.
[[noreturn]] void fail_safetensors(const std::string& file, std::int64_t offset,
                                   const std::string& message);

/// The length of the header, from the first 8 bytes of a file of `file_bytes`. Throws Error unless
/// it is within `limits` and the file.
std::int64_t safetensors_header_length(std::string_view first_bytes, std::int64_t file_bytes,
                                       const std::string& file, const SafetensorsLimits& limits);

/// Parses the header and checks all it says; `data_bytes` follow it in the file. Then every entry's
/// bytes lie within these, have the size its shape demands, and no byte belongs to two or none.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::int64_t data_bytes,
                                           const std::string& file,
                                           const SafetensorsLimits& limits);

}  // namespace attune
