#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "paper/claim.h"
#include "support/progress.h"

namespace attune::examples {

/// The experiments that have been run, in a file of one line each: {"settings": {...}, "rows":
/// [...]}. A line is written when its experiment has ended, so whatever ends the program, all
/// earlier ones are there.
class RunLog {
 public:
  /// Reads the file, if there is one. A last line that is not complete is dropped: the program was
  /// killed while writing it. Throws Error that names file and line if another is no JSON.
  explicit RunLog(std::filesystem::path path);

  /// The rows of the experiment with these settings, each with the settings in front; empty if it
  /// has not been run.
  std::vector<Row> find(const Row& settings) const;
  /// Writes it down. A later entry with the same settings takes the place of an earlier one.
  void add(const Row& settings, const std::vector<Row>& rows);
  /// All rows, whatever the settings, in the order in which they were measured.
  std::vector<Row> rows() const;

 private:
  struct Entry {
    Row settings;
    std::vector<Row> rows;
  };
  static Entry entry_of(const std::string& line);
  void put(Entry entry);

  std::filesystem::path path_;
  std::vector<Entry> entries_;
};

/// Runs those experiments that the log does not have (all of them, if `again`), and shows how far
/// it has come and how long it will take. Stops when interrupted().
void run_experiments(const std::string& name, const std::vector<Experiment>& experiments,
                     RunLog& log, bool again, ProgressStyle style);

}  // namespace attune::examples
