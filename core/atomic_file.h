#pragma once

#include <cstddef>
#include <filesystem>

namespace attune {

/// Writes a file that nobody ever sees half of: whoever opens `path`, at any time and also after
/// the process was killed or the machine lost power, finds what was there before or all of the new
/// content. The bytes go to a temporary file in the same directory, "<path>.<process>.tmp", which
/// commit() flushes to the disk and renames.
///
/// A killed process leaves its temporary file; the next writer of the same path removes it. Where
/// `path` is a link, what it leads to is replaced. All functions throw Error naming the path.
class AtomicFile {
 public:
  /// Refuses a `path` that is something other than a regular file (a directory, a device).
  explicit AtomicFile(const std::filesystem::path& path);
  /// Without commit(): removes the temporary file.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  /// Puts the file in its place. To be called once, as the last function.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void flush_and_close();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace attune
