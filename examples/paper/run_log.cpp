#include "paper/run_log.h"

#include <attune/core/error.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "support/interrupt.h"
#include "support/output_files.h"

namespace attune::examples {
namespace {

std::string line_of(const Row& settings, const std::vector<Row>& rows) {
  return Row{{"settings", settings}, {"rows", rows}}.dump() + "\n";
}

/// "net resnet20, seed 1": for a progress note.
std::string brief(const Row& settings) {
  std::string text;
  for (const auto& [name, value] : settings.items()) {
    if (!text.empty()) text += ", ";
    text += name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

RunLog::RunLog(std::filesystem::path path) : path_(std::move(path)) {
  std::ifstream file(path_);
  std::string line;
  bool complete = true;
  for (int number = 1; std::getline(file, line); ++number) {
    complete = !file.eof();  // the last line ends in a line feed as well
    try {
      put(entry_of(line));
    } catch (const Row::exception& error) {
      if (!complete) break;
      throw Error(fmt::format("{}: line {} is no run: {}", path_.string(), number, error.what()));
    }
  }
  file.close();
  if (complete) return;
  std::string text;
  for (const Entry& entry : entries_) text += line_of(entry.settings, entry.rows);
  write_file(path_, text);
}

RunLog::Entry RunLog::entry_of(const std::string& line) {
  const Row entry = Row::parse(line);
  return {entry.at("settings"), entry.at("rows").get<std::vector<Row>>()};
}

std::vector<Row> RunLog::find(const Row& settings) const {
  std::vector<Row> found;
  for (const Entry& entry : entries_) {
    if (entry.settings != settings) continue;
    for (const Row& row : entry.rows) {
      found.push_back(settings);
      found.back().update(row);
    }
  }
  return found;
}

void RunLog::add(const Row& settings, const std::vector<Row>& rows) {
  check_writable(path_);
  std::ofstream file(path_, std::ios::app);
  const std::string line = line_of(settings, rows);
  file << line << std::flush;
  if (!file) throw Error(fmt::format("{}: cannot be written", path_.string()));
  put(entry_of(line));  // as it will be read: a NaN has become null
}

std::vector<Row> RunLog::rows() const {
  std::vector<Row> all;
  for (const Entry& entry : entries_) {
    const std::vector<Row> rows = find(entry.settings);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

void RunLog::put(Entry entry) {
  const auto same = [&](const Entry& other) { return other.settings == entry.settings; };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), same), entries_.end());
  entries_.push_back(std::move(entry));
}

void run_experiments(const std::string& name, const std::vector<Experiment>& experiments,
                     RunLog& log, bool again, ProgressStyle style) {
  std::vector<const Experiment*> left;
  for (const Experiment& experiment : experiments) {
    if (again || log.find(experiment.settings).empty()) left.push_back(&experiment);
  }
  Progress progress(name, static_cast<std::int64_t>(left.size()), "runs", style);
  for (const Experiment* const experiment : left) {
    progress.advance(0, brief(experiment->settings));
    std::vector<Row> rows;
    try {
      rows = experiment->measure();
    } catch (const Error&) {
      if (!interrupted()) throw;
    }
    if (interrupted()) break;  // the rows, if any, may be of a part of the run
    log.add(experiment->settings, rows);
    progress.advance(1);
  }
  progress.finish();
}

}  // namespace attune::examples
