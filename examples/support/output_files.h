#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

// Files that a run leaves behind. Whoever reads them never sees half of one: a file is written
// under a temporary name beside its place, and takes its own name when it is complete. A device, a
// pipe or a link is written to directly.

namespace attune::examples {

/// Writes `text` to `path`, replacing what is there. Throws Error, and leaves the old file alone,
/// if that fails.
void write_file(const std::filesystem::path& path, std::string_view text);

/// The same with a document as text. What is not UTF-8, as the name of a file may be, is replaced.
void write_json(const std::filesystem::path& path, const nlohmann::json& document);
/// That text, in one line.
std::string json_line(const nlohmann::json& document);

/// Throws Error unless a file could be created beside `path`, and renamed to it. Makes the
/// directories it lies in. Worth asking before hours of work.
void check_writable(const std::filesystem::path& path);

/// Comma-separated values, for a run that writes a row from time to time. Each row is on disk when
/// row() returns. The file takes its name with the first row, so a run that fails before measuring
/// anything leaves an earlier run's file alone.
class CsvFile {
 public:
  /// Throws Error at once if the file cannot be created.
  CsvFile(std::filesystem::path path, const std::vector<std::string>& columns);
  ~CsvFile();
  CsvFile(const CsvFile&) = delete;
  CsvFile& operator=(const CsvFile&) = delete;

  /// One cell for each column: numbers, or words without commas. Throws Error if the disk is full.
  void row(const std::vector<std::string>& cells);
  /// The shortest text that reads back as the same number.
  static std::string cell(double value);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::ofstream file_;
  std::size_t columns_;
  bool named_ = false;
};

}  // namespace attune::examples
