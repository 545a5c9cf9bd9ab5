#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/catch.h"

// Runs programs as people do, and looks at what they leave.
namespace attune::test {

inline std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class RunDirectory {
 public:
  RunDirectory()
      : path_(std::filesystem::temp_directory_path() /
              ("attune_programs_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~RunDirectory() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

struct Outcome {
  int exit_code;
  std::string out, err;
};

inline Outcome run(const RunDirectory& directory, const std::string& command) {
  const std::string out = (directory / "stdout").string(), err = (directory / "stderr").string();
  const int status = std::system((command + " >" + out + " 2>" + err).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content(out), content(err)};
}

/// Starts a program and does not wait for it; its output goes to the same two files.
inline pid_t start(const RunDirectory& directory, const std::string& command) {
  const std::string line = "exec " + command + " >" + (directory / "stdout").string() + " 2>" +
                           (directory / "stderr").string();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(98);
  }
  return child;
}

/// Waits for its end: the exit code, or minus the signal that killed it.
inline int wait_for(pid_t child) {
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// One line that begins with "error: " and contains `part`.
inline void check_error(const Outcome& outcome, int exit_code, const std::string& part) {
  INFO(outcome.err);
  CHECK(outcome.exit_code == exit_code);
  CHECK(outcome.err.rfind("error: ", 0) == 0);
  CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
  CHECK(outcome.err.find(part) != std::string::npos);
  CHECK(outcome.out.empty());
}

inline std::ptrdiff_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace attune::test
