#include "attune/core/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

struct DTypeRow {
  FileDType dtype;
  const char* name;
  std::int64_t bytes;
};

constexpr std::array<DTypeRow, 6> kDTypes{{{FileDType::i64, "I64", 8},
                                           {FileDType::f64, "F64", 8},
                                           {FileDType::f32, "F32", 4},
                                           {FileDType::bf16, "BF16", 2},
                                           {FileDType::f16, "F16", 2},
                                           {FileDType::u8, "U8", 1}}};

const DTypeRow& row(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

/// Characters for the JSON parser; tells how far it has come.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** farthest) : at_(at), farthest_(farthest) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *farthest_ = ++at_;
    return *this;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** farthest_;
};

/// Takes the header apart while it is parsed. Working on the parser's events, instead of on a
/// finished document, shows names that are given twice, and refuses what does not belong at once:
/// nothing is ever nested deeper than the format's three levels.
class HeaderHandler {
 public:
  HeaderHandler(std::string_view json, const std::string& file, const SafetensorsLimits& limits)
      : json_(json), position_(json.data()), file_(file), limits_(limits) {}

  SafetensorsHeader parse() {
    const Cursor begin(json_.data(), &position_), end(json_.data() + json_.size(), &position_);
    nlohmann::json::sax_parse(begin, end, this);
    return std::move(header_);
  }

  // The parser's events. Each returns true, to go on, or throws.
  bool start_object(std::size_t) {
    switch (expected_) {
      case Expected::document:
        expected_ = Expected::name;
        return true;
      case Expected::metadata:
        expected_ = Expected::metadata_key;
        return true;
      case Expected::tensor:
        expected_ = Expected::field;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool end_object() {
    if (expected_ == Expected::name) {
      expected_ = Expected::nothing;
    } else {
      if (expected_ == Expected::field) finish_tensor();
      expected_ = Expected::name;
    }
    return true;
  }

  bool key(std::string& text) {
    switch (expected_) {
      case Expected::name:
        begin_entry(text);
        return true;
      case Expected::metadata_key:
        check_name(text);
        if (header_.metadata.contains(text)) fail(format_text("'{}' is given twice", text));
        key_ = std::move(text);
        expected_ = Expected::metadata_value;
        return true;
      default:  // Expected::field; a key is never the answer to anything else
        begin_field(text);
        return true;
    }
  }

  bool string(std::string& text) {
    if (expected_ == Expected::metadata_value) {
      header_.metadata.emplace(std::move(key_), std::move(text));
      expected_ = Expected::metadata_key;
      return true;
    }
    if (expected_ != Expected::dtype) return unexpected("a string");
    const auto* const known = std::find_if(
        kDTypes.begin(), kDTypes.end(), [&](const DTypeRow& dtype) { return dtype.name == text; });
    if (known == kDTypes.end()) {
      fail(format_text("dtype {} of '{}' is not among I64, F64, F32, BF16, F16, U8",
                       text.substr(0, 16), entry_.name));
    }
    entry_.dtype = known->dtype;
    has_dtype_ = true;
    expected_ = Expected::field;
    return true;
  }

  bool start_array(std::size_t) {
    if (expected_ != Expected::shape && expected_ != Expected::offsets) return unexpected("a list");
    expected_ = expected_ == Expected::shape ? Expected::extent : Expected::offset;
    return true;
  }

  bool number_unsigned(std::uint64_t number) {
    const bool in_list = expected_ == Expected::extent || expected_ == Expected::offset;
    if (!in_list) return unexpected("a number");
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(format_text("{} in '{}' is too large", number, entry_.name));
    }
    const std::size_t most = expected_ == Expected::extent ? Shape::kMaxRank : 2;
    if (numbers_.size() == most) {
      fail(expected_ == Expected::extent
               ? format_text("'{}' has more than the {} axes supported", entry_.name, most)
               : format_text("'{}' has more than 2 data_offsets", entry_.name));
    }
    numbers_.push_back(static_cast<std::int64_t>(number));
    return true;
  }

  bool end_array() {
    if (expected_ == Expected::extent) {
      shape_ = std::move(numbers_);
    } else {
      if (numbers_.size() != 2) fail(format_text("'{}' needs 2 data_offsets", entry_.name));
      offsets_ = {numbers_[0], numbers_[1]};
    }
    numbers_ = {};
    expected_ = Expected::field;
    return true;
  }

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a truth value"); }
  bool number_integer(std::int64_t) { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) {
    return unexpected("a number that is no integer");
  }
  bool binary(std::vector<std::uint8_t>&) { return unexpected("binary data"); }
  bool parse_error(std::size_t, const std::string&, const std::exception& error) {
    // Its message begins with the library's own name for the error, in brackets.
    const std::string_view message = error.what();
    const std::size_t start = message.find("] ");
    fail("the header is no valid JSON: " +
         std::string(start == std::string_view::npos ? message : message.substr(start + 2)));
  }

 private:
  /// What the next event has to be.
  enum class Expected {
    document,
    name,  // or the end of the header
    metadata,
    metadata_key,  // or the end of the metadata
    metadata_value,
    tensor,
    field,  // or the end of the tensor
    dtype,
    shape,
    extent,  // or the end of the shape
    offsets,
    offset,  // likewise
    nothing
  };

  [[noreturn]] void fail(const std::string& message) const {
    fail_safetensors(file_, kSafetensorsLengthBytes + (position_ - json_.data()), message);
  }

  bool unexpected(const char* what) const {
    switch (expected_) {
      case Expected::document:
        fail(format_text("the header is {}, not an object", what));
      case Expected::metadata:
        fail(format_text("{} is {}, not an object", kSafetensorsMetadataKey, what));
      case Expected::metadata_value:
        fail(format_text("'{}' in {} is {}, not a string", key_, kSafetensorsMetadataKey, what));
      case Expected::tensor:
        fail(format_text("'{}' is {}, not an object", entry_.name, what));
      case Expected::dtype:
        fail(format_text("dtype of '{}' is {}, not a string", entry_.name, what));
      case Expected::extent:
      case Expected::offset:
        fail(format_text("a list of '{}' holds {}", entry_.name, what));
      default:
        fail(format_text("a field of '{}' is {}, not a list", entry_.name, what));
    }
  }

  void check_name(const std::string& text) const {
    if (static_cast<std::int64_t>(text.size()) > limits_.max_name_bytes) {
      fail(format_text("a name has {} bytes, more than the limit of {}", text.size(),
                       limits_.max_name_bytes));
    }
  }

  void begin_entry(std::string& name) {
    check_name(name);
    if (!names_.insert(name).second) fail(format_text("'{}' is given twice", name));
    if (name == kSafetensorsMetadataKey) {
      expected_ = Expected::metadata;
      return;
    }
    if (static_cast<std::int64_t>(header_.entries.size()) == limits_.max_tensors) {
      fail(format_text("there are more than {} tensors", limits_.max_tensors));
    }
    entry_ = {};
    entry_.name = std::move(name);
    has_dtype_ = false;
    shape_.reset();
    offsets_.reset();
    expected_ = Expected::tensor;
  }

  void begin_field(const std::string& name) {
    const auto begin = [&](bool seen, Expected next) {
      if (seen) fail(format_text("'{}' has two fields {}", entry_.name, name));
      expected_ = next;
    };
    if (name == "dtype") return begin(has_dtype_, Expected::dtype);
    if (name == "shape") return begin(shape_.has_value(), Expected::shape);
    if (name == "data_offsets") return begin(offsets_.has_value(), Expected::offsets);
    fail(format_text("'{}' has a field {}, which the format does not know", entry_.name,
                     name.substr(0, 64)));
  }

  void finish_tensor() {
    if (!has_dtype_ || !shape_ || !offsets_) {
      fail(format_text("'{}' has no {}", entry_.name,
                       !has_dtype_ ? "dtype"
                       : !shape_   ? "shape"
                                   : "data_offsets"));
    }
    entry_.begin = (*offsets_)[0];
    entry_.end = (*offsets_)[1];
    // An extent of 0 must not hide others that nobody can compute strides of.
    std::int64_t bytes = size_of(entry_.dtype);
    for (const std::int64_t extent : *shape_) {
      if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(extent, 1), &bytes)) {
        fail(format_text("'{}' of shape [{}] is too large", entry_.name, join_text(*shape_, ", ")));
      }
    }
    if (std::find(shape_->begin(), shape_->end(), 0) != shape_->end()) bytes = 0;
    if (entry_.begin > entry_.end || entry_.end - entry_.begin != bytes) {
      fail(format_text("'{}' lies at [{}, {}], but {} [{}] needs {} bytes", entry_.name,
                       entry_.begin, entry_.end, to_string(entry_.dtype), join_text(*shape_, ", "),
                       bytes));
    }
    entry_.shape = Shape(*shape_);
    header_.entries.push_back(std::move(entry_));
  }

  std::string_view json_;
  const char* position_;
  const std::string& file_;
  const SafetensorsLimits& limits_;

  Expected expected_ = Expected::document;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  std::string key_;                    // of the metadata
  SafetensorsEntry entry_;             // the one being read
  std::vector<std::int64_t> numbers_;  // the list being read
  bool has_dtype_ = false;
  std::optional<std::vector<std::int64_t>> shape_;
  std::optional<std::array<std::int64_t, 2>> offsets_;
};

// Sorted by place, the tensors must follow each other from the first byte to the last.
void check_layout(const std::vector<SafetensorsEntry>& entries, std::int64_t data_bytes,
                  std::int64_t data_offset, const std::string& file) {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::int64_t end = 0;
  for (const SafetensorsEntry* entry : sorted) {
    if (entry->begin != end) {
      fail_safetensors(file, data_offset + std::min(entry->begin, end),
                       format_text("'{}' begins at {} of the data, but the tensors before it end "
                                   "at {}: {}",
                                   entry->name, entry->begin, end,
                                   entry->begin < end ? "they overlap" : "there is a gap"));
    }
    end = entry->end;
    if (end > data_bytes) {
      fail_safetensors(file, data_offset + data_bytes,
                       format_text("the file ends within '{}', which lies at [{}, {}] of the data",
                                   entry->name, entry->begin, entry->end));
    }
  }
  if (end != data_bytes) {
    fail_safetensors(
        file, data_offset + end,
        format_text("{} bytes follow the last tensor, but the format allows none; some "
                    "writers append 4, and cutting the file to its first {} bytes "
                    "makes it valid",
                    data_bytes - end, data_offset + end));
  }
}

}  // namespace

const char* to_string(FileDType dtype) { return row(dtype).name; }
std::int64_t size_of(FileDType dtype) { return row(dtype).bytes; }

void fail_safetensors(const std::string& file, std::int64_t offset, const std::string& message) {
  throw Error(format_text("safetensors: {}: byte {}: {}", file, offset, message));
}

std::int64_t safetensors_header_length(std::string_view first_bytes, std::int64_t file_bytes,
                                       const std::string& file, const SafetensorsLimits& limits) {
  if (first_bytes.size() < static_cast<std::size_t>(kSafetensorsLengthBytes)) {
    fail_safetensors(file, file_bytes,
                     format_text("the file has {} bytes, but begins with the {} of its header's "
                                 "length",
                                 file_bytes, kSafetensorsLengthBytes));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, first_bytes.data(), sizeof length);
  if (length > static_cast<std::uint64_t>(limits.max_header_bytes)) {
    // An archive, or a pickle of the second protocol.
    const bool pickled = first_bytes.starts_with("PK\3\4") || first_bytes.starts_with("\x80\2");
    fail_safetensors(file, 0,
                     pickled ? "this looks like a file of torch.save(), which is code; have Python "
                               "save the state_dict with safetensors.torch.save_file()"
                             : format_text("a header of {} bytes is more than the limit of {} (is "
                                           "this a safetensors file?)",
                                           length, limits.max_header_bytes));
  }
  if (length > static_cast<std::uint64_t>(file_bytes - kSafetensorsLengthBytes)) {
    fail_safetensors(file, file_bytes,
                     format_text("the file ends within its header of {} bytes", length));
  }
  return static_cast<std::int64_t>(length);
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::int64_t data_bytes,
                                           const std::string& file,
                                           const SafetensorsLimits& limits) {
  if (json.empty() || json.front() != '{') {
    fail_safetensors(file, kSafetensorsLengthBytes, "the header does not begin with '{'");
  }
  // The parser would take it for the end of its input and leave the rest unread.
  const std::size_t zero = json.find('\0');
  if (zero != std::string_view::npos) {
    fail_safetensors(file, kSafetensorsLengthBytes + static_cast<std::int64_t>(zero),
                     "the header is no valid JSON: a byte of it is 0");
  }
  SafetensorsHeader header = HeaderHandler(json, file, limits).parse();
  const auto header_bytes = static_cast<std::int64_t>(json.size());
  check_layout(header.entries, data_bytes, kSafetensorsLengthBytes + header_bytes, file);
  return header;
}

}  // namespace attune
