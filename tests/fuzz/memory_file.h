#pragma once

#include <string>

#include "tests/fuzz/targets.h"

namespace attune::test {

/// A file that lies in memory but has a path, for readers that want one.
class MemoryFile {
 public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void set(Bytes content);
  std::string path() const;

 private:
  int descriptor_;
};

}  // namespace attune::test
