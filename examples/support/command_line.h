#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "support/progress.h"

namespace CLI {
class App;
}

namespace attune::examples {

/// What the programs exit with.
enum ExitCode : int {
  kExitDone = 0,
  kExitRunError = 1,      ///< bad data, a full disk, a loss that is no number
  kExitUsageError = 2,    ///< an unknown option, a value out of range
  kExitInterrupted = 130  ///< Ctrl-C, as a shell has it: 128 + SIGINT
};

/// The options that the training programs share.
struct RunOptions {
  std::string net = "resnet20";
  std::string data = "synthetic";  ///< or a directory
  std::int64_t limit = 0;          ///< of training images; 0: all
  int workers = 1;
  std::int64_t batch_size = 128;
  bool use_double = false;
  std::uint64_t seed = 1;
  int threads = 0;  ///< 0: the library's default
  std::filesystem::path out;
  std::filesystem::path json;
  ProgressStyle progress = ProgressStyle::automatic;
};

/// Adds them to `app`, with help texts, in groups.
void add_run_options(CLI::App& app, RunOptions& options);

/// The whole of a main(): parses, applies --threads where the program has it, runs `body`, and
/// turns everything that goes wrong into one line on stderr and an exit code. `examples` ends the
/// help.
int run_program(CLI::App& app, int argc, char** argv, const std::string& examples,
                const std::function<int()>& body);

}  // namespace attune::examples
