#pragma once

#include <attune/core/error.h>
#include <attune/layers/mode.h>
#include <attune/layers/models/resnet.h>
#include <attune/layers/recompute.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/device_options.h"
#include "support/progress.h"

namespace CLI {  // CLI11 takes seconds to compile, so no header includes it
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

/// Thrown by a program whose options, though each is valid, cannot be meant together.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The options that the training programs share.
struct RunOptions {
  std::string net = "resnet20";
  ResNetShortcut shortcut = ResNetShortcut::projection;
  std::optional<Stem> stem = {};  ///< none: fits the images
  // If not, a file that the run starts from may say otherwise (support/network.h).
  bool net_is_given = false;
  bool shortcut_is_given = false;
  std::filesystem::path init = {};  ///< a file of weights to start from; empty: none
  bool replace_head = false;
  std::string data = "synthetic";  ///< or a directory
  std::int64_t limit = 0;          ///< of training images, and of test images; 0: all
  int workers = 1;
  std::optional<bool> resident = {};  ///< batches are made on the device; none: where that is usual
  std::int64_t batch_size = 128;
  bool use_double = false;
  std::uint64_t seed = 1;
  DeviceOptions device = {};
  int threads = 0;          ///< 0: the library's default
  bool cuda_graph = false;  ///< a GPU records a step and repeats it
  Recompute recompute = {};
  bool keep_bf16 = false;  ///< what backward needs is rounded (Bfloat16Saves)
  std::filesystem::path out = {};
  std::filesystem::path json = {};
  bool profile = false;
  ProgressStyle progress = ProgressStyle::automatic;

  DType dtype() const { return use_double ? DType::float64 : DType::float32; }
};

/// For CLI::Option::check: empty if `text` is a finite number above zero (not below zero), else
/// what is wrong. CLI11's own checks answer with the largest double in 309 digits.
std::string check_positive(const std::string& text);
std::string check_not_negative(const std::string& text);

/// Adds them to `app`, with help texts, in groups.
void add_run_options(CLI::App& app, RunOptions& options);

/// Adds --config, a file of options, which add_run_options() and add_model_options() do, too.
void add_config_option(CLI::App& app);

/// Adds --progress, which is one of them.
void add_progress_option(CLI::App& app, ProgressStyle& progress);

/// Which numbers an option takes.
enum class Limits { positive, not_negative, below_one /* but not negative */ };

/// Adds an option for a number, in the group "Training".
void add_number_option(CLI::App& app, const char* name, std::int64_t& value, Limits limits,
                       const char* help);
void add_number_option(CLI::App& app, const char* name, double& value, Limits limits,
                       const char* help);

/// The same for one whose default depends on others: `default_text` says how.
void add_number_option(CLI::App& app, const char* name, std::optional<double>& value, Limits limits,
                       const char* help, const char* default_text);

/// Adds --mode, one of auto (nothing), train, eval, tune, deploy.
void add_mode_option(CLI::App& app, std::optional<Mode>& mode);
/// Adds --resume, "auto" or a file, and --checkpoint-every.
void add_resume_options(CLI::App& app, std::string& resume, std::int64_t& checkpoint_every);
/// Adds --modes, a list of them, each at most once.
void add_modes_option(CLI::App& app, std::vector<Mode>& modes);

/// "cpu, fp32" or "cuda:0, tf32, recorded steps": how a run computes.
std::string describe(const RunOptions& options);

/// The shared options and the library's version, for a summary.json.
nlohmann::json settings_json(const RunOptions& options);

/// What --help says before and after the options.
struct ProgramHelp {
  std::string about;
  std::string examples;
};

/// The whole of a main(): parses the options that `add_options` adds, runs `body`, and turns
/// everything that goes wrong into one line on stderr and an exit code.
int run_program(int argc, char** argv, const ProgramHelp& help,
                const std::function<void(CLI::App&)>& add_options,
                const std::function<int()>& body);

/// The same for a program without options.
int run_lesson(int argc, char** argv, const std::string& about,
               const std::function<void()>& lesson);

}  // namespace attune::examples
