#pragma once

#include <attune/data/transforms.h>
#include <attune/layers/models/image_classifier.h>
#include <attune/layers/models/resnet.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/progress.h"

namespace attune::examples {

/// The options of programs that use a network as it is: which one, and what to do with results.
struct ModelOptions {
  std::filesystem::path init = {};  ///< a file of weights; empty: none
  std::string net = {};             ///< empty: what the file says
  std::optional<ResNetShortcut> shortcut = {};
  std::optional<Stem> stem = {};
  DeviceOptions device = {};
  int threads = 0;  ///< 0: the library's default
  std::filesystem::path json = {};
  ProgressStyle progress = ProgressStyle::automatic;
};

enum class Init { required, optional };
/// Adds them to `app`, but for --progress and the device.
void add_model_options(CLI::App& app, ModelOptions& options, Init init);
/// Adds --device and --precision, for programs that have something to compute.
void add_model_device_options(CLI::App& app, ModelOptions& options);
/// Adds --normalize, for which parse_statistics() says what it takes.
void add_normalize_option(CLI::App& app, std::optional<ChannelStatistics>& normalize);

/// Options of one program.
void add_text_option(CLI::App& app, const char* name, std::string& value, const char* type,
                     const char* help);
void add_path_option(CLI::App& app, const char* name, std::filesystem::path& value,
                     const char* help, const char* group = "Output");
void add_flag(CLI::App& app, const char* name, bool& value, const char* help);
void add_count_option(CLI::App& app, const char* name, std::int64_t& value, const char* help,
                      std::int64_t least = 0);
/// Adds --limit.
void add_limit_option(CLI::App& app, std::int64_t& limit);
void add_counts_option(CLI::App& app, const char* name, std::vector<std::int64_t>& values,
                       const char* help);
/// Adds --mode with the default eval; not train, which is no way to use a network.
void add_use_mode_option(CLI::App& app, Mode& mode);
/// Arguments without a name, at least one.
void add_arguments(CLI::App& app, const char* name, std::vector<std::string>& values,
                   const char* help);

}  // namespace attune::examples
