#include "tests/fuzz/targets.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "attune/core/checkpoint.h"
#include "attune/core/error.h"
#include "attune/core/memory_stats.h"
#include "attune/core/safetensors.h"
#include "attune/data/cifar.h"
#include "attune/data/image.h"
#include "tests/data/temporary_directory.h"
#include "tests/fuzz/memory_file.h"

namespace attune::test {
namespace {

/// Ends the process, which a fuzzer reports with its input.
void demand(bool condition) {
  if (!condition) std::abort();
}

/// A folder with the files of both data sets, whose content can be changed.
class CifarFolder {
 public:
  CifarFolder() {
    for (const char* name : {"test_batch.bin", "test.bin"}) link(name, images_);
    for (const char* name : {"batches.meta.txt", "fine_label_names.txt"}) link(name, names_);
  }

  void set(Bytes names, Bytes images) {
    names_.set(names);
    images_.set(images);
  }
  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  void link(const char* name, const MemoryFile& file) {
    std::filesystem::create_symlink(file.path(), directory_.path() / name);
  }

  TemporaryDirectory directory_;
  MemoryFile names_, images_;
};

template <typename Cifar>
void read_cifar(const CifarFolder& folder, std::int64_t classes) {
  try {
    const Cifar images(folder.path(), Split::test);
    demand(static_cast<std::int64_t>(images.classes().size()) == classes);
    ByteImage image;
    for (std::int64_t i = 0; i < images.size(); ++i) {
      demand(images.label(i) >= 0 && images.label(i) < classes);
      images.load(i, image);
      demand(image.pixels.size() == std::size_t{3} * 32 * 32);
    }
  } catch (const Error&) {
  }
}

}  // namespace

void fuzz_safetensors(Bytes bytes) {
  const MemoryScope memory(Device::cpu);
  try {
    const SafetensorsFile file = parse_safetensors(std::as_bytes(bytes), "input");
    for (const auto& [name, tensor] : file.tensors) {
      demand(tensor.defined());
      const std::vector<double> values = tensor.to_vector<double>();
      demand(static_cast<std::int64_t>(values.size()) == tensor.count());
    }
  } catch (const Error&) {
  }
  // Halves become floats; nothing else grows.
  demand(memory.peak_above_start() <= 2 * static_cast<std::int64_t>(bytes.size()));
}

void fuzz_checkpoint(Bytes bytes) {
  static MemoryFile file;
  file.set(bytes);
  try {
    const Checkpoint checkpoint = load_checkpoint(file.path());
    demand(checkpoint.epoch >= 0 && checkpoint.batch >= 0 && checkpoint.step >= 0);
    for (const NamedTensors* part : {&checkpoint.model, &checkpoint.optimizer, &checkpoint.ema}) {
      for (const auto& [name, tensor] : *part) demand(tensor.defined());
    }
  } catch (const Error&) {
  }
}

void fuzz_cifar(Bytes bytes) {
  static CifarFolder folder;
  constexpr std::size_t kMostNames = 1024;
  const auto limit =
      bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), kMostNames));
  const auto zero = std::find(bytes.begin(), limit, 0);
  const auto names = static_cast<std::size_t>(zero == limit ? 0 : zero - bytes.begin() + 1);
  static const std::string ten_names = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";
  const Bytes usual(reinterpret_cast<const std::uint8_t*>(ten_names.data()), ten_names.size());
  folder.set(names == 0 ? usual : bytes.first(names - 1), bytes.subspan(names));
  read_cifar<Cifar10>(folder, 10);
  read_cifar<Cifar100>(folder, 100);
}

void fuzz_image(Bytes bytes) {
  static MemoryFile file;
  file.set(bytes);
  try {
    const ByteImage image =
        read_image(file.path(), {.max_file_bytes = 1 << 20, .max_pixels = 1 << 16});
    demand(image.size.height * image.size.width <= 1 << 16);
    demand(static_cast<std::int64_t>(image.pixels.size()) == image.size.count());
  } catch (const Error&) {
  }
}

}  // namespace attune::test
