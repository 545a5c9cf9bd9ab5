#include "tests/fuzz/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

namespace attune::test {

MemoryFile::MemoryFile() : descriptor_(memfd_create("attune_test", MFD_CLOEXEC)) {
  if (descriptor_ < 0) throw std::runtime_error("memfd_create failed");
}

MemoryFile::~MemoryFile() { close(descriptor_); }

void MemoryFile::set(Bytes content) {
  const auto size = static_cast<ssize_t>(content.size());
  if (ftruncate(descriptor_, 0) != 0 ||
      pwrite(descriptor_, content.data(), content.size(), 0) != size) {
    throw std::runtime_error("a file in memory cannot be written");
  }
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

}  // namespace attune::test
