#include "attune/core/atomic_file.h"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is not in <csignal>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".tmp";

fs::path directory_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// The process that writes, or wrote, the temporary file `name` of a file `final_name`; 0 if `name`
// is something else.
pid_t writer_of(std::string_view name, std::string_view final_name) {
  if (!name.starts_with(final_name) || !name.ends_with(kSuffix)) return 0;
  name.remove_prefix(final_name.size());
  if (name.size() <= kSuffix.size() + 1 || name.front() != '.') return 0;
  name = name.substr(1, name.size() - kSuffix.size() - 1);
  pid_t process = 0;
  const auto result = std::from_chars(name.data(), name.data() + name.size(), process);
  return result.ec == std::errc() && result.ptr == name.data() + name.size() ? process : 0;
}

// Temporary files of processes that are gone. Not being able to is no reason to fail.
void remove_leftovers(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_of(path), ignored)) {
    const pid_t process = writer_of(entry.path().filename().string(), path.filename().string());
    if (process > 0 && kill(process, 0) != 0 && errno == ESRCH) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) fs::remove(leftover, ignored);
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  std::error_code error;
  if (fs::is_symlink(path_, error)) path_ = fs::weakly_canonical(path_, error);
  const fs::file_type type = fs::status(path_, error).type();
  if (type == fs::file_type::directory) fail(EISDIR);
  if (type != fs::file_type::regular && type != fs::file_type::not_found) {
    throw Error(format_text("cannot write {}: it is not a regular file", path_.string()));
  }
  remove_leftovers(path_);
  temporary_ = fs::path(path_).concat(format_text(".{}{}", getpid(), kSuffix));
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove(temporary_, ignored);
}

void AtomicFile::fail(int error) const {
  throw Error(format_text("cannot write {}: {}", path_.string(), std::strerror(error)));
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::flush_and_close() {
  if (fsync(descriptor_) != 0) fail(errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (close(descriptor) != 0) fail(errno);
}

void AtomicFile::commit() {
  flush_and_close();
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) fail(error.value());
  temporary_.clear();
  // The new name is safe once the directory is on the disk too. Some file systems refuse to flush
  // directories; there is nothing more to do then.
  const int directory = open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  fsync(directory);
  close(directory);
}

}  // namespace attune
