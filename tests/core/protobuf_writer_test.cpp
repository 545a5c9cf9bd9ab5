// The examples of protobuf.dev/programming-guides/encoding, and what is at the ends of the range.

#include "attune/core/protobuf_writer.h"

#include <limits>
#include <string>

#include "tests/catch.h"

using namespace attune;

TEST_CASE("messages are encoded as Protocol Buffers are", "[protobuf]") {
  ProtobufWriter integer, text, outer;
  integer.integer(1, 150);
  CHECK(integer.bytes() == "\x08\x96\x01");
  text.bytes(2, "testing");
  CHECK(text.bytes() == "\x12\x07testing");
  outer.message(3, integer);
  CHECK(outer.bytes() == "\x1a\x03\x08\x96\x01");
}

TEST_CASE("integers take as many bytes as they need", "[protobuf]") {
  const auto encoded = [](std::int64_t value) {
    ProtobufWriter message;
    message.integer(1, value);
    return message.bytes().substr(1);
  };
  CHECK(encoded(0) == std::string(1, '\0'));
  CHECK(encoded(127) == "\x7f");
  CHECK(encoded(128) == "\x80\x01");
  CHECK(encoded(std::numeric_limits<std::int64_t>::max()) == std::string(8, '\xff') + "\x7f");
  CHECK(encoded(-1) == std::string(9, '\xff') + "\x01");
}

TEST_CASE("numbers are stored lowest byte first, and fields above 15 in two bytes", "[protobuf]") {
  ProtobufWriter message;
  message.real(16, 1.0F);  // 0x3f800000
  CHECK(message.bytes() == std::string("\x85\x01\x00\x00\x80\x3f", 6));
}
