#include "support/output_files.h"

#include <attune/core/error.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

namespace attune::examples {
namespace {

namespace fs = std::filesystem;

// The process number keeps two runs with one --out from writing into each other's file.
fs::path temporary_name(const fs::path& path) {
  return fs::path(path).concat(fmt::format(".{}.tmp", getpid()));
}

[[noreturn]] void fail(const char* action, const fs::path& path, int error) {
  throw Error(fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(error)));
}

void make_directory(const fs::path& directory) {
  if (directory.empty()) return;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail("create directory", directory, error.value());
}

// A device or a pipe is written to as it is: a file in the place of /dev/null would break it for
// every other program. The same goes for what a link names.
bool is_replaceable(const fs::path& path) {
  std::error_code ignored;
  const fs::file_type type = fs::symlink_status(path, ignored).type();
  return type == fs::file_type::not_found || type == fs::file_type::regular;
}

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(from, ignored);
  fail("write", to, error.value());
}

std::string join(const std::vector<std::string>& cells) {
  return fmt::format("{}\n", fmt::join(cells, ","));
}

}  // namespace

void write_file(const fs::path& path, std::string_view text) {
  make_directory(path.parent_path());
  const bool replaceable = is_replaceable(path);
  const fs::path written = replaceable ? temporary_name(path) : path;
  errno = 0;
  std::ofstream file(written, std::ios::binary | std::ios::trunc);
  if (!file) fail("write", path, errno);
  file << text << std::flush;
  file.close();
  if (!file) {
    const int error = errno;
    std::error_code ignored;
    if (replaceable) fs::remove(written, ignored);
    fail("write", path, error);
  }
  if (replaceable) rename_file(written, path);
}

void write_json(const fs::path& path, const nlohmann::json& document) {
  write_file(path, document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::string json_line(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void check_writable(const fs::path& path) {
  make_directory(path.parent_path());
  if (fs::is_directory(path)) fail("write", path, EISDIR);
  if (!is_replaceable(path)) {
    if (access(path.c_str(), W_OK) != 0) fail("write", path, errno);
    return;
  }
  const fs::path temporary = temporary_name(path);
  errno = 0;
  if (!std::ofstream(temporary)) fail("write", path, errno);
  std::error_code ignored;
  fs::remove(temporary, ignored);
}

CsvFile::CsvFile(fs::path path, const std::vector<std::string>& columns)
    : path_(std::move(path)), temporary_(temporary_name(path_)), columns_(columns.size()) {
  check_writable(path_);
  errno = 0;
  file_.open(temporary_, std::ios::trunc);
  if (!file_) fail("write", path_, errno);
  file_ << join(columns);
}

CsvFile::~CsvFile() {
  std::error_code ignored;
  if (!named_) fs::remove(temporary_, ignored);
}

void CsvFile::row(const std::vector<std::string>& cells) {
  if (cells.size() != columns_) {
    throw Error(fmt::format("{}: a row has {} cells for {} columns", path_.string(), cells.size(),
                            columns_));
  }
  errno = 0;
  file_ << join(cells) << std::flush;
  if (!file_) fail("write", path_, errno);
  // The open file keeps its content and place under the new name.
  if (!named_) rename_file(temporary_, path_);
  named_ = true;
}

std::string CsvFile::cell(double value) { return fmt::format("{}", value); }

}  // namespace attune::examples
