#include "attune/data/cifar.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

constexpr ImageSize kImageSize{32, 32, 3};
constexpr std::int64_t kPlane = kImageSize.height * kImageSize.width;
constexpr std::int64_t kPixels = kPlane * kImageSize.channels;

/// How one of the two sets is laid out. A record is one byte for each entry of `label_counts`, then
/// the red, the green and the blue plane; the last label byte is the class.
struct Layout {
  const char* name;        // for messages
  const char* download;    // for the download script
  const char* folder;      // in the official archive
  const char* names_file;  // one class name a line
  std::vector<std::string> train_files;
  std::vector<std::string> test_files;
  std::vector<int> label_counts;

  std::int64_t label_bytes() const { return static_cast<std::int64_t>(label_counts.size()); }
  std::int64_t record_bytes() const { return label_bytes() + kPixels; }
  int classes() const { return label_counts.back(); }
  const std::vector<std::string>& files(Split split) const {
    return split == Split::train ? train_files : test_files;
  }
};

Layout cifar10_layout() {
  return {"CIFAR-10",
          "cifar10",
          "cifar-10-batches-bin",
          "batches.meta.txt",
          {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
           "data_batch_5.bin"},
          {"test_batch.bin"},
          {10}};
}

Layout cifar100_layout() {
  return {"CIFAR-100",   "cifar100",   "cifar-100-binary", "fine_label_names.txt",
          {"train.bin"}, {"test.bin"}, {20, 100}};
}

std::string download_hint(const Layout& layout) {
  return format_text(
      "to download it: cmake -DDATASET={} -DDIRECTORY=<directory> -P "
      "data/download.cmake",
      layout.download);
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// Either `directory` itself or the official folder in it.
fs::path find_folder(const Layout& layout, const fs::path& directory, Split split) {
  const auto& files = layout.files(split);
  for (const fs::path& folder : {directory, directory / layout.folder}) {
    if (std::any_of(files.begin(), files.end(),
                    [&](const std::string& file) { return is_file(folder / file); })) {
      return folder;
    }
  }
  throw Error(format_text("{}: no {} in {} or {}; {}", layout.name, files.front(),
                          directory.string(), (directory / layout.folder).string(),
                          download_hint(layout)));
}

void check_exists(const Layout& layout, const fs::path& path) {
  if (!is_file(path)) {
    throw Error(
        format_text("{}: {} is missing; {}", layout.name, path.string(), download_hint(layout)));
  }
}

std::vector<std::string> read_class_names(const Layout& layout, const fs::path& path) {
  check_exists(layout, path);
  std::ifstream file(path);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() != static_cast<std::size_t>(layout.classes())) {
    throw Error(format_text("{}: {} has {} class names, expected {}", layout.name, path.string(),
                            names.size(), layout.classes()));
  }
  return names;
}

// How many images the file holds.
std::int64_t count_records(const Layout& layout, const fs::path& path) {
  check_exists(layout, path);
  const auto bytes = static_cast<std::int64_t>(fs::file_size(path));
  if (bytes == 0 || bytes % layout.record_bytes() != 0) {
    throw Error(format_text("{}: {} has {} bytes, expected a positive multiple of {} (one image)",
                            layout.name, path.string(), bytes, layout.record_bytes()));
  }
  return bytes / layout.record_bytes();
}

// [3, 32, 32] -> [32, 32, 3].
void interleave(const std::uint8_t* planes, std::uint8_t* pixels) {
  for (std::int64_t i = 0; i < kPlane; ++i) {
    for (std::int64_t c = 0; c < kImageSize.channels; ++c) {
      pixels[i * kImageSize.channels + c] = planes[c * kPlane + i];
    }
  }
}

// Reads `count` images to `pixels` and `labels`.
void read_records(const Layout& layout, const fs::path& path, std::int64_t count,
                  std::uint8_t* pixels, std::int64_t* labels) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::uint8_t> record(static_cast<std::size_t>(layout.record_bytes()));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t offset = i * layout.record_bytes();
    if (!file.read(reinterpret_cast<char*>(record.data()), layout.record_bytes())) {
      throw Error(format_text("{}: {}: cannot read {} bytes at byte {}", layout.name, path.string(),
                              layout.record_bytes(), offset));
    }
    for (std::int64_t k = 0; k < layout.label_bytes(); ++k) {
      const int value = record[static_cast<std::size_t>(k)];
      const int label_count = layout.label_counts[static_cast<std::size_t>(k)];
      if (value >= label_count) {
        throw Error(format_text("{}: {}: label {} at byte {}, expected 0 to {}", layout.name,
                                path.string(), value, offset + k, label_count - 1));
      }
      labels[i] = value;
    }
    interleave(record.data() + layout.label_bytes(), pixels + i * kPixels);
  }
}

InMemoryDataset read_cifar(const Layout& layout, const fs::path& directory, Split split) {
  const fs::path folder = find_folder(layout, directory, split);
  std::vector<std::string> classes = read_class_names(layout, folder / layout.names_file);
  std::vector<std::int64_t> counts;
  std::int64_t total = 0;
  for (const std::string& file : layout.files(split)) {
    counts.push_back(count_records(layout, folder / file));
    total += counts.back();
  }
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(total * kPixels));
  std::vector<std::int64_t> labels(static_cast<std::size_t>(total));
  std::int64_t done = 0;
  for (std::size_t f = 0; f < counts.size(); ++f) {
    read_records(layout, folder / layout.files(split)[f], counts[f], pixels.data() + done * kPixels,
                 labels.data() + done);
    done += counts[f];
  }
  return {format_text("{} {}", layout.name, to_string(split)), std::move(classes), kImageSize,
          std::move(pixels), std::move(labels)};
}

}  // namespace

Cifar10::Cifar10(const fs::path& directory, Split split)
    : InMemoryDataset(read_cifar(cifar10_layout(), directory, split)) {}

Cifar100::Cifar100(const fs::path& directory, Split split)
    : InMemoryDataset(read_cifar(cifar100_layout(), directory, split)) {}

}  // namespace attune
