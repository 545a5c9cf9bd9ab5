#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace attune {

/// A message in the wire format of Protocol Buffers (protobuf.dev/programming-guides/encoding),
/// which is all that writing a file of a fixed schema takes. A field is its number, how its value
/// is stored, and the value; a field that may repeat is written once for each element.
class ProtobufWriter {
 public:
  /// For fields of type int32, int64, bool and enum: a "varint", seven bits a byte, lowest first.
  void integer(std::uint32_t field, std::int64_t value);
  /// For fields of type float.
  void real(std::uint32_t field, float value);
  /// For fields of type string and bytes.
  void bytes(std::uint32_t field, std::string_view value);
  void message(std::uint32_t field, const ProtobufWriter& value) { bytes(field, value.bytes_); }

  const std::string& bytes() const { return bytes_; }

 private:
  enum class WireType : std::uint8_t { varint = 0, length_delimited = 2, fixed32 = 5 };
  void tag(std::uint32_t field, WireType type);
  void varint(std::uint64_t value);

  std::string bytes_;
};

}  // namespace attune
