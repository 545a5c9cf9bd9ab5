#include "attune/core/protobuf_writer.h"

#include <bit>

namespace attune {

void ProtobufWriter::integer(std::uint32_t field, std::int64_t value) {
  tag(field, WireType::varint);
  varint(static_cast<std::uint64_t>(value));  // negative ones in two's complement, ten bytes
}

void ProtobufWriter::real(std::uint32_t field, float value) {
  tag(field, WireType::fixed32);
  auto bits = std::bit_cast<std::uint32_t>(value);
  for (int i = 0; i < 4; ++i, bits >>= 8) bytes_ += static_cast<char>(bits & 0xffU);
}

void ProtobufWriter::bytes(std::uint32_t field, std::string_view value) {
  tag(field, WireType::length_delimited);
  varint(value.size());
  bytes_ += value;
}

void ProtobufWriter::tag(std::uint32_t field, WireType type) {
  varint(std::uint64_t{field} << 3 | static_cast<std::uint64_t>(type));
}

void ProtobufWriter::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7fU) | 0x80U);
  bytes_ += static_cast<char>(value);
}

}  // namespace attune
