#include "attune/core/safetensors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "attune/core/atomic_file.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/safetensors_header.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

/// Copies bytes of a file from `offset` on.
using ReadBytes = std::function<void(std::int64_t offset, void* to, std::int64_t count)>;

DType memory_dtype(FileDType dtype) {
  switch (dtype) {
    case FileDType::f64:
      return DType::float64;
    case FileDType::i64:
      return DType::int64;
    case FileDType::u8:
      return DType::uint8;
    default:
      return DType::float32;
  }
}

FileDType file_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return FileDType::f32;
    case DType::float64:
      return FileDType::f64;
    case DType::int64:
      return FileDType::i64;
    case DType::uint8:
      break;
  }
  return FileDType::u8;
}

// IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of mantissa.
float from_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fU;
  const std::uint32_t mantissa = half & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: units of 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1f ? 0xffU : exponent - 15 + 127;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

// The upper half of a float.
float from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

void read_halves(const ReadBytes& read, std::int64_t offset, bool bfloat, Tensor& tensor) {
  std::vector<std::uint16_t> chunk(
      static_cast<std::size_t>(std::min<std::int64_t>(tensor.count(), std::int64_t{1} << 16)));
  auto* to = tensor.mutable_data<float>();
  for (std::int64_t done = 0; done < tensor.count();) {
    const std::int64_t count =
        std::min(tensor.count() - done, static_cast<std::int64_t>(chunk.size()));
    read(offset + 2 * done, chunk.data(), 2 * count);
    std::transform(chunk.begin(), chunk.begin() + count, to + done,
                   bfloat ? from_bfloat : from_half);
    done += count;
  }
}

Tensor read_tensor(const ReadBytes& read, std::int64_t offset, const SafetensorsEntry& entry) {
  Tensor tensor = Tensor::empty(entry.shape, memory_dtype(entry.dtype), Device::cpu);
  if (entry.dtype == FileDType::f16 || entry.dtype == FileDType::bf16) {
    read_halves(read, offset, entry.dtype == FileDType::bf16, tensor);
  } else if (tensor.count() > 0) {
    visit_dtype(tensor.dtype(),
                [&]<typename T>(T) { read(offset, tensor.mutable_data<T>(), tensor.bytes()); });
  }
  return tensor;
}

SafetensorsFile read_all(const ReadBytes& read, std::int64_t file_bytes, const std::string& name,
                         const SafetensorsLimits& limits) {
  std::string first(static_cast<std::size_t>(std::min(file_bytes, kSafetensorsLengthBytes)), '\0');
  read(0, first.data(), static_cast<std::int64_t>(first.size()));
  const std::int64_t length = safetensors_header_length(first, file_bytes, name, limits);
  std::string json(static_cast<std::size_t>(length), '\0');
  read(kSafetensorsLengthBytes, json.data(), length);

  const std::int64_t data_offset = kSafetensorsLengthBytes + length;
  SafetensorsHeader header = parse_safetensors_header(json, file_bytes - data_offset, name, limits);
  SafetensorsFile file{.tensors = {}, .metadata = std::move(header.metadata)};
  for (const SafetensorsEntry& entry : header.entries) {
    file.tensors.emplace_back(entry.name, read_tensor(read, data_offset + entry.begin, entry));
  }
  return file;
}

// ---- Writing ----

/// By dtype, the largest first, so that every tensor is aligned; then by name.
bool comes_first(const NamedTensors::value_type& a, const NamedTensors::value_type& b) {
  return std::pair(file_dtype(a.second.dtype()), a.first) <
         std::pair(file_dtype(b.second.dtype()), b.first);
}

std::string json_string(const fs::path& path, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(format_text("safetensors: cannot write {}: a name or value is not UTF-8 ('{}...')",
                            path.string(), text.substr(0, 32)));
  }
}

void check_writable(const fs::path& path, const NamedTensors& tensors) {
  const SafetensorsLimits limits;
  const auto fail = [&](const std::string& message) {
    throw Error(format_text("safetensors: cannot write {}: {}", path.string(), message));
  };
  std::unordered_set<std::string> names;
  if (static_cast<std::int64_t>(tensors.size()) > limits.max_tensors) {
    fail(format_text("{} tensors are more than the {} that are read", tensors.size(),
                     limits.max_tensors));
  }
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) fail(format_text("'{}' is undefined", name));
    if (tensor.device() == Device::meta) {
      fail(format_text("'{}' is on meta and has no elements", name));
    }
    if (name == kSafetensorsMetadataKey) fail(format_text("no tensor can be called '{}'", name));
    if (static_cast<std::int64_t>(name.size()) > limits.max_name_bytes) {
      fail(format_text("a name has {} bytes, more than the {} that are read", name.size(),
                       limits.max_name_bytes));
    }
    if (!names.insert(name).second) fail(format_text("'{}' is given twice", name));
  }
}

std::string header_text(const fs::path& path, const NamedTensors& sorted,
                        const SafetensorsMetadata& metadata) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) {
      pairs.push_back(json_string(path, key) + ":" + json_string(path, value));
    }
    entries.push_back(format_text("\"{}\":{{{}}}", kSafetensorsMetadataKey, join_text(pairs, ",")));
  }
  std::int64_t begin = 0;
  for (const auto& [name, tensor] : sorted) {
    const std::int64_t end = begin + tensor.bytes();
    entries.push_back(format_text(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json_string(path, name), to_string(file_dtype(tensor.dtype())),
                                  join_text(tensor.shape(), ","), begin, end));
    begin = end;
  }
  std::string text = "{" + join_text(entries, ",") + "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsFile read_safetensors(const fs::path& path, const SafetensorsLimits& limits) {
  const std::string name = path.string();
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(path, error);
  if (error) throw Error(format_text("safetensors: {}: {}", name, error.message()));
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(format_text("safetensors: {}: {}", name, std::strerror(errno)));
  const ReadBytes read = [&](std::int64_t offset, void* to, std::int64_t count) {
    if (!stream.seekg(offset) || !stream.read(static_cast<char*>(to), count)) {
      fail_safetensors(name, offset, format_text("cannot read {} bytes", count));
    }
  };
  return read_all(read, static_cast<std::int64_t>(bytes), name, limits);
}

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name,
                                  const SafetensorsLimits& limits) {
  // Elements are copied, never used in place: nothing says that they are aligned.
  const ReadBytes read = [&](std::int64_t offset, void* to, std::int64_t count) {
    if (count > 0) std::memcpy(to, bytes.data() + offset, static_cast<std::size_t>(count));
  };
  return read_all(read, static_cast<std::int64_t>(bytes.size()), name, limits);
}

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const SafetensorsMetadata& metadata) {
  check_writable(path, tensors);
  NamedTensors sorted = tensors;
  std::sort(sorted.begin(), sorted.end(), comes_first);
  const std::string header = header_text(path, sorted, metadata);
  if (static_cast<std::int64_t>(header.size()) > SafetensorsLimits{}.max_header_bytes) {
    throw Error(format_text("safetensors: cannot write {}: its header has {} bytes", path.string(),
                            header.size()));
  }
  const std::uint64_t length = header.size();
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(header.data(), header.size());
  for (const auto& [name, tensor] : sorted) {
    const Tensor elements = tensor.to(Device::cpu);
    file.write(elements.storage().data(), static_cast<std::size_t>(elements.bytes()));
  }
  file.commit();
}

}  // namespace attune
