#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "attune/core/tensor.h"

// The file format of PyTorch's ecosystem for weights (github.com/huggingface/safetensors): eight
// bytes with the length of a header, the header in JSON, which gives each tensor's name, dtype,
// shape and place, and the elements. No code is stored, so a file of a stranger can be opened.

namespace attune {

/// What a file holds beside tensors: "__metadata__".
using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsFile {
  NamedTensors tensors;  ///< on the CPU, in the order of the header
  SafetensorsMetadata metadata;
};

/// What a reader puts up with. Memory is bounded without them, by a small multiple of the file's
/// size.
struct SafetensorsLimits {
  std::int64_t max_header_bytes = 100'000'000;  ///< the format's own limit
  std::int64_t max_tensors = 100'000;
  std::int64_t max_name_bytes = 1024;  ///< of tensors, and of keys of the metadata
};

/// Reads a whole file. F32, F64, I64 and U8 keep their dtype; F16 and BF16 become float32, which
/// holds all their values. All are on the CPU.
///
/// Throws Error naming the file, the byte offset and the tensor if anything is not exactly as the
/// format demands: a header that is cut off, too long or no valid JSON, a name given twice, a shape
/// whose size overflows or differs from that of its bytes, gaps or overlaps between tensors, bytes
/// after the last one; or if a tensor has another dtype or more than Shape::kMaxRank axes.
SafetensorsFile read_safetensors(const std::filesystem::path& path,
                                 const SafetensorsLimits& limits = {});

/// The same for a file in memory; `name` stands for its path in messages.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name,
                                  const SafetensorsLimits& limits = {});

/// Writes a file, and replaces an old one in one step (AtomicFile): whoever reads `path` finds all
/// of the old file or all of the new one, even if the process is killed. Equal arguments give equal
/// bytes.
///
/// They are those that the reference implementation writes, too: tensors are sorted by dtype,
/// largest first, then by name, and the header is padded to a multiple of 8, so that every tensor
/// is aligned.
///
/// Throws Error if a tensor is undefined or on Device::meta, if a name is given twice, longer than
/// what is read, "__metadata__" or not UTF-8, or if the disk refuses.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const SafetensorsMetadata& metadata = {});

}  // namespace attune
