// Safetensors files: what is written is read back, what PyTorch's library writes is understood, and
// everything that is not to the letter of the format is refused.

#include "attune/core/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/memory_stats.h"
#include "attune/core/random.h"
#include "tests/catch.h"
#include "tests/data/temporary_directory.h"
#include "tests/test_util.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

std::string length_bytes(std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

/// A file with this header, as it is, and `data_bytes` zeros.
std::string file_of(const std::string& header, std::size_t data_bytes = 0) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\0');
}

SafetensorsFile parse(const std::string& bytes, const SafetensorsLimits& limits = {}) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "f", limits);
}

std::string error_of(const std::string& bytes, const SafetensorsLimits& limits = {}) {
  return message_of<Error>([&] { parse(bytes, limits); });
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// {"<name>":{"dtype":...}} without the outer braces.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + shape +
         R"(],"data_offsets":[)" + offsets + "]}";
}

const Tensor& find(const SafetensorsFile& file, const std::string& name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const auto& candidate) { return candidate.first == name; });
  REQUIRE(found != file.tensors.end());
  return found->second;
}

NamedTensors some_tensors() {
  Generator generator{5, 0};
  return {{"weight", random_normal({3, 2, 2, 1}, 0, 1, generator)},
          {"double", random_normal({3}, 0, 1, generator, DType::float64)},
          {"count", Tensor::from(std::vector<std::int64_t>{-7}, {})},
          {"bytes", Tensor::from(std::vector<std::uint8_t>{1, 2, 255}, {3})},
          {"empty", Tensor::empty({0, 4})},
          {"a \"name\" \u00e9\n", Tensor::ones({1})}};
}

}  // namespace

TEST_CASE("safetensors: what is written is read back, bit for bit") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "t.safetensors";
  const NamedTensors tensors = some_tensors();
  const SafetensorsMetadata metadata{{"format", "pt"}, {"text", "line\n\"quoted\" \\ \u00fc"}};
  write_safetensors(path, tensors, metadata);
  const SafetensorsFile file = read_safetensors(path);
  CHECK(file.metadata == metadata);
  REQUIRE(file.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    const Tensor& read = find(file, name);
    CHECK(read.dtype() == tensor.dtype());
    CHECK(read.shape() == tensor.shape());
    CHECK(!read.requires_grad());
    const Tensor written = tensor.to(Device::cpu);
    CHECK((tensor.bytes() == 0 || std::memcmp(read.storage().data(), written.storage().data(),
                                              static_cast<std::size_t>(tensor.bytes())) == 0));
  }
  // NaN and infinities are elements like others.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  write_safetensors(path, {{"x", Tensor::from(std::vector<double>{nan, -HUGE_VAL, -0.0}, {3})}});
  const auto x = find(read_safetensors(path), "x").to_vector<double>();
  CHECK(std::isnan(x[0]));
  CHECK(x[1] == -HUGE_VAL);
  CHECK(std::signbit(x[2]));
  // No tensor at all is a file, too.
  write_safetensors(path, {});
  CHECK(read_bytes(path) == length_bytes(8) + "{}      ");
  CHECK(read_safetensors(path).tensors.empty());
}

TEST_CASE("safetensors: the layout of a written file") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "t.safetensors";
  write_safetensors(path,
                    {{"u", Tensor::from(std::vector<std::uint8_t>{9}, {1})},
                     {"b", Tensor::full({2}, 1)},
                     {"a", Tensor::full({1}, 2)},
                     {"d", Tensor::full({1}, 3, DType::float64)}},
                    {{"k", "v"}});
  const std::string header = R"({"__metadata__":{"k":"v"},)" + entry("d", "F64", "1", "0,8") + "," +
                             entry("a", "F32", "1", "8,12") + "," +
                             entry("b", "F32", "2", "12,20") + "," +
                             entry("u", "U8", "1", "20,21") + "}";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  const std::string bytes = read_bytes(path);
  REQUIRE(bytes.size() == 8 + padded.size() + 21);
  CHECK(bytes.substr(0, 8 + padded.size()) == length_bytes(padded.size()) + padded);
  double d = 0;
  std::memcpy(&d, bytes.data() + 8 + padded.size(), 8);
  CHECK(d == 3);
  CHECK(bytes.back() == 9);
}

TEST_CASE("safetensors: a file of PyTorch's library, with every dtype") {
  // tests/golden/golden_files.py wrote it.
  const SafetensorsFile file =
      read_safetensors(std::string(ATTUNE_TEST_DATA_DIR) + "/golden/dtypes.safetensors");
  CHECK(file.metadata == SafetensorsMetadata{{"format", "pt"}, {"origin", "golden_files.py"}});
  const std::vector<double> values{0, -0.5, 1.5, 65504, -3.0517578125e-05, 5.9604644775390625e-08};
  CHECK(find(file, "f64").dtype() == DType::float64);
  CHECK(find(file, "f64").to_vector<double>() == values);
  for (const char* name : {"f32", "f16"}) {
    CHECK(find(file, name).dtype() == DType::float32);
    CHECK(find(file, name).shape() == Shape{2, 3});
    CHECK(find(file, name).to_vector<double>() == values);
  }
  CHECK(find(file, "bf16").dtype() == DType::float32);
  CHECK(find(file, "bf16").to_vector<double>() ==
        std::vector<double>{0, -0.5, 1.5, 65536, -3.0517578125e-05, 5.9604644775390625e-08});
  CHECK(find(file, "i64").dtype() == DType::int64);
  CHECK(find(file, "i64").shape() == Shape{});
  CHECK(find(file, "i64").to_vector<std::int64_t>() == std::vector<std::int64_t>{1LL << 53 | 1});
  CHECK(find(file, "u8").dtype() == DType::uint8);
  CHECK(find(file, "u8").to_vector<std::uint8_t>() == std::vector<std::uint8_t>{0, 255});
}

TEST_CASE("safetensors: every half and bfloat") {
  std::string halves(1 << 17, '\0');
  for (std::uint32_t i = 0; i < (1U << 16); ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    std::memcpy(halves.data() + static_cast<std::size_t>(2) * i, &bits, 2);
  }
  for (const bool bfloat : {false, true}) {
    std::string bytes =
        file_of("{" + entry("x", bfloat ? "BF16" : "F16", "65536", "0,131072") + "}");
    const std::vector<float> read = parse(bytes + halves).tensors[0].second.to_vector<float>();
    // The value of sign, exponent and fraction, from the standard's formula.
    const int fraction_bits = bfloat ? 7 : 10, bias = bfloat ? 127 : 15;
    const int largest = bfloat ? 255 : 31;
    int wrong = 0;
    for (int i = 0; i < (1 << 16); ++i) {
      const float value = read[static_cast<std::size_t>(i)];
      const int exponent = (i >> fraction_bits) & largest;
      const int fraction = i & ((1 << fraction_bits) - 1);
      const double sign = (i >> 15) != 0 ? -1 : 1;
      if (exponent == largest) {
        wrong += fraction != 0 ? !std::isnan(value) : value != sign * HUGE_VAL;
      } else {
        const double significand = fraction + (exponent > 0 ? 1 << fraction_bits : 0);
        const double expected =
            sign * std::ldexp(significand, std::max(exponent, 1) - bias - fraction_bits);
        wrong += value != expected || std::signbit(value) != std::signbit(expected);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("safetensors: elements may lie at any address") {
  // 3 bytes before the float, and a header whose length is odd.
  const std::string header =
      "{" + entry("a", "U8", "3", "0,3") + "," + entry("x", "F32", "1", "3,7") + "}  ";
  std::string bytes =
      file_of(header.substr(0, header.size() - (header.size() % 2 == 0 ? 1 : 0)), 7);
  const float value = 1.25F;
  std::memcpy(bytes.data() + bytes.size() - 4, &value, 4);
  CHECK(find(parse(bytes), "x").item() == 1.25);
  // A header may come in any order of fields and with white space.
  CHECK(
      parse(file_of("{ \"x\" : { \"data_offsets\":[0, 1],\n\"shape\":[1], \"dtype\":\"U8\" } }   ",
                    1))
          .tensors.size() == 1);
}

TEST_CASE("safetensors: the order of the tensors is the header's, whatever that of the bytes") {
  const SafetensorsFile file = parse(
      file_of("{" + entry("b", "U8", "1", "2,3") + "," + entry("a", "U8", "2", "0,2") + "}", 3));
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].first == "b");
  CHECK(file.tensors[1].first == "a");
}

TEST_CASE("safetensors: a broken beginning is refused") {
  CHECK(error_of("") ==
        "safetensors: f: byte 0: the file has 0 bytes, but begins with the 8 of its "
        "header's length");
  CHECK(contains(error_of("1234567"), "byte 7: the file has 7 bytes"));
  CHECK(contains(error_of(length_bytes(100'000'001) + "{}"),
                 "byte 0: a header of 100000001 bytes is more than the limit of 100000000"));
  CHECK(contains(error_of(length_bytes(~std::uint64_t{0})), "18446744073709551615 bytes is more"));
  // What torch.save() writes, now and formerly.
  for (const char* start : {"PK\3\4\x14\x08\x08\x08", "\x80\2\x8a\x0al\xfc\x9c\x46"}) {
    CHECK(contains(error_of(start),
                   "byte 0: this looks like a file of torch.save(), which is code;"));
  }
  CHECK(
      contains(error_of(length_bytes(3) + "{}"), "byte 10: the file ends within its header of 3"));
  CHECK(contains(error_of(length_bytes(0)), "byte 8: the header does not begin with '{'"));
  CHECK(contains(error_of(file_of(" {}")), "does not begin with '{'"));
  CHECK(contains(error_of(file_of("\xef\xbb\xbf{}")), "does not begin with '{'"));
  CHECK(contains(error_of(file_of("[]")), "does not begin with '{'"));
}

TEST_CASE("safetensors: a header that is no JSON is refused, with its place") {
  CHECK(contains(error_of(file_of("{")), "byte 9: the header is no valid JSON: parse error"));
  CHECK(contains(error_of(file_of("{} x")), "byte 12: the header is no valid JSON"));
  CHECK(contains(error_of(file_of("{\"a\":1,}")), "'a' is a number, not an object"));
  CHECK(contains(error_of(file_of("{\"\xff\":{}}")), "no valid JSON"));  // not UTF-8
  CHECK(contains(error_of(file_of("{/**/}")), "no valid JSON"));
  CHECK(contains(error_of(file_of(std::string("{}\0", 3))), "no valid JSON"));
}

TEST_CASE("safetensors: a header that says anything else is refused") {
  const auto with = [](const std::string& value) {
    return error_of(file_of("{\"a\":" + value + "}", 4));
  };
  CHECK(contains(with("[1]"), "'a' is a list, not an object"));
  CHECK(contains(with("null"), "'a' is null"));
  CHECK(contains(with("true"), "'a' is a truth value"));
  CHECK(contains(with("{}"), "'a' has no dtype"));
  CHECK(contains(with(R"({"dtype":"F32","shape":[1]})"), "'a' has no data_offsets"));
  CHECK(contains(with(R"({"dtype":"F32","data_offsets":[0,4]})"), "'a' has no shape"));
  CHECK(contains(with(R"({"dtype":"I32","shape":[1],"data_offsets":[0,4]})"), "dtype I32 of 'a'"));
  CHECK(contains(with(R"({"dtype":1})"), "dtype of 'a' is a number"));
  CHECK(contains(with(R"({"shape":{}})"), "a field of 'a' is an object, not a list"));
  CHECK(contains(with(R"({"shape":[[1]]})"), "a list of 'a' holds a list"));
  CHECK(contains(with(R"({"shape":["1"]})"), "a list of 'a' holds a string"));
  CHECK(contains(with(R"({"shape":[-1]})"), "a list of 'a' holds a negative number"));
  CHECK(contains(with(R"({"shape":[1.0]})"), "holds a number that is no integer"));
  CHECK(contains(with(R"({"shape":[18446744073709551616]})"), "holds a number that is no integer"));
  CHECK(contains(with(R"({"shape":[9223372036854775808]})"), "9223372036854775808 in 'a' is too"));
  CHECK(contains(with(R"({"shape":[1,1,1,1,1,1,1]})"), "more than the 6 axes"));
  CHECK(contains(with(R"({"data_offsets":[0]})"), "needs 2 data_offsets"));
  CHECK(contains(with(R"({"data_offsets":[0,4,4]})"), "more than 2 data_offsets"));
  CHECK(contains(with(R"({"shape":[1],"shape":[1]})"), "'a' has two fields shape"));
  CHECK(contains(with(R"({"stride":[1]})"), "field stride, which the format does not know"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{\"k\":1}}")),
                 "'k' in __metadata__ is a number, not a string"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{\"k\":{}}}")), "'k' in __metadata__ is an"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":3}")), "__metadata__ is a number"));
  // Depth costs nothing: what is too deep is refused where it begins.
  CHECK(contains(error_of(file_of("{\"a\":" + std::string(1'000'000, '[') + "}")),
                 "byte 14: 'a' is a list"));
}

TEST_CASE("safetensors: what is given twice is refused") {
  const std::string a = entry("a", "U8", "1", "0,1");
  CHECK(contains(error_of(file_of("{" + a + "," + entry("a", "U8", "1", "1,2") + "}", 2)),
                 "'a' is given twice"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}")),
                 "'k' is given twice"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{},\"__metadata__\":{}}")),
                 "'__metadata__' is given twice"));
  // Spelt differently, the same name.
  CHECK(contains(error_of(file_of("{" + a + ",\"\\u0061\":{}}", 1)), "'a' is given twice"));
}

TEST_CASE("safetensors: tensors must fill the data, each with the bytes its shape needs") {
  const auto of = [](const std::vector<std::string>& entries, std::size_t data) {
    std::string header;
    for (const std::string& e : entries) header += (header.empty() ? "{" : ",") + e;
    return error_of(file_of(header + "}", data));
  };
  CHECK(of({entry("a", "F32", "2,3", "0,24")}, 24).empty());
  CHECK(contains(of({entry("a", "F32", "2,3", "0,20")}, 20),
                 "'a' lies at [0, 20], but F32 [2, 3] needs 24 bytes"));
  CHECK(contains(of({entry("a", "U8", "1", "1,0")}, 1), "'a' lies at [1, 0]"));
  CHECK(contains(of({entry("a", "F32", "4294967296,4294967296", "0,0")}, 0), "is too large"));
  CHECK(contains(of({entry("a", "F64", "2305843009213693952", "0,0")}, 0), "is too large"));
  CHECK(contains(of({entry("a", "U8", "4294967296,4294967296,0", "0,0")}, 0), "is too large"));
  CHECK(contains(of({entry("a", "U8", "0,4294967296,4294967296", "0,0")}, 0), "is too large"));
  CHECK(contains(of({entry("a", "U8", "1", "1,2")}, 2), "there is a gap"));
  CHECK(
      contains(of({entry("a", "U8", "1", "0,1"), entry("b", "U8", "1", "2,3")}, 3),
               "'b' begins at 2 of the data, but the tensors before it end at 1: there is a gap"));
  CHECK(contains(of({entry("a", "U8", "2", "0,2"), entry("b", "U8", "2", "1,3")}, 3),
                 "they overlap"));
  CHECK(contains(of({entry("a", "U8", "2", "0,2"), entry("b", "U8", "2", "0,2")}, 2),
                 "they overlap"));
  CHECK(contains(of({entry("a", "F32", "1", "0,4")}, 3), "the file ends within 'a'"));
  CHECK(
      contains(of({entry("a", "F32", "1000000000000", "0,4000000000000")}, 0), "ends within 'a'"));
  // Nothing at the beginning, in between and at the end, in any order.
  CHECK(of({entry("z", "F32", "0", "4,4"), entry("a", "F32", "1", "0,4"),
            entry("e", "F32", "0,5", "0,0")},
           4)
            .empty());
}

TEST_CASE("safetensors: trailing bytes are refused, and explained") {
  const std::string header = "{" + entry("a", "U8", "1", "0,1") + "}";
  const std::string message = error_of(file_of(header, 5));
  const std::string end = std::to_string(8 + header.size() + 1);
  CHECK(message == "safetensors: f: byte " + end +
                       ": 4 bytes follow the last tensor, but the format allows none; some writers "
                       "append 4, and cutting the file to its first " +
                       end + " bytes makes it valid");
}

TEST_CASE("safetensors: limits") {
  const std::string two =
      file_of("{" + entry("aa", "U8", "1", "0,1") + "," + entry("b", "U8", "1", "1,2") + "}", 2);
  CHECK(error_of(two, {.max_tensors = 2, .max_name_bytes = 2}).empty());
  CHECK(contains(error_of(two, {.max_tensors = 1}), "there are more than 1 tensors"));
  CHECK(contains(error_of(two, {.max_name_bytes = 1}), "a name has 2 bytes, more than the limit"));
  CHECK(contains(error_of(two, {.max_header_bytes = 10}), "more than the limit of 10"));
  CHECK(contains(
      error_of(file_of("{\"__metadata__\":{\"0123456789abc\":\"\"}}"), {.max_name_bytes = 12}),
      "a name has 13 bytes"));
}

TEST_CASE("safetensors: a file that announces more than it has costs no memory") {
  const MemoryScope scope(Device::cpu);
  error_of(file_of("{" + entry("a", "F32", "1000000000000", "0,4000000000000") + "}", 16));
  CHECK(scope.peak_above_start() == 0);
}

TEST_CASE("safetensors: a reader names the file") {
  const TemporaryDirectory directory;
  CHECK(contains(message_of<Error>([&] { read_safetensors(directory.file("none")); }),
                 directory.file("none") + ": No such file"));
  CHECK(contains(message_of<Error>([&] { read_safetensors(directory.path()); }),
                 directory.path().string()));
  write_file(directory.path() / "bad", "1234");
  CHECK(contains(message_of<Error>([&] { read_safetensors(directory.file("bad")); }),
                 directory.file("bad") + ": byte 4"));
}

TEST_CASE("safetensors: what could not be read back is not written") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "t.safetensors";
  write_file(path, "old");
  const auto error = [&](const NamedTensors& tensors, const SafetensorsMetadata& metadata = {}) {
    return message_of<Error>([&] { write_safetensors(path, tensors, metadata); });
  };
  const Tensor x = Tensor::ones({1});
  CHECK(contains(error({{"a", x}, {"a", x}}), "'a' is given twice"));
  CHECK(contains(error({{"a", {}}}), "'a' is undefined"));
  CHECK(contains(error({{"a", x.to(Device::meta)}}), "'a' is on meta"));
  CHECK(contains(error({{"__metadata__", x}}), "no tensor can be called"));
  CHECK(contains(error({{std::string(1025, 'n'), x}}), "a name has 1025 bytes"));
  CHECK(contains(error({{"\xff", x}}), "not UTF-8"));
  CHECK(contains(error({}, {{"k", "\xc3"}}), "not UTF-8"));
  CHECK(read_bytes(path) == "old");
  CHECK(std::distance(fs::directory_iterator(directory.path()), {}) == 1);
}
