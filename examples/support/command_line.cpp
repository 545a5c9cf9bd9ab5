#include "support/command_line.h"

#include <attune/core/device.h>
#include <attune/core/error.h>
#include <attune/layers/models/make_model.h>
#include <attune/version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

namespace attune::examples {
namespace {

// A message of several lines would not be "one clear line".
std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

int report(const std::string& message, int exit_code) {
  std::cerr << "error: " << one_line(message) << std::endl;
  return exit_code;
}

/// NaN if it is not a finite number.
double parse(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  const bool valid = result.ec == std::errc() && result.ptr == end && std::isfinite(value);
  return valid ? value : std::numeric_limits<double>::quiet_NaN();
}

const std::map<std::string, Mode>& modes_by_name() {
  static const std::map<std::string, Mode> modes = {
      {"train", Mode::train}, {"eval", Mode::eval}, {"tune", Mode::tune}, {"deploy", Mode::deploy}};
  return modes;
}

constexpr std::size_t kHelpColumn = 34;
constexpr std::size_t kHelpWidth = 100;

/// Breaks the lines of --help.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kHelpColumn); }

  std::string make_option_desc(const CLI::Option* option) const override {
    std::istringstream words(option->get_description());
    std::string text;
    std::size_t length = 0;
    for (std::string word; words >> word; length += word.size() + 1) {
      if (length + word.size() > kHelpWidth - kHelpColumn) {
        text += '\n';
        length = 0;
      } else if (!text.empty()) {
        text += ' ';
      }
      text += word;
    }
    return text;
  }
};

template <typename T>
CLI::Option* add_training_number(CLI::App& app, const char* name, T& value, Limits limits,
                                 const char* help) {
  CLI::Option* const option = app.add_option(name, value, help)->type_name("N")->group("Training");
  switch (limits) {
    case Limits::positive:
      option->check(check_positive);
      break;
    case Limits::not_negative:
      option->check(check_not_negative);
      break;
    case Limits::below_one:
      option->check(CLI::Range(0.0, 0.999).description(""));
      break;
  }
  return option;
}

}  // namespace

std::string check_positive(const std::string& text) {
  return parse(text) > 0 ? "" : fmt::format("{} is not a positive number", text);
}

std::string check_not_negative(const std::string& text) {
  return parse(text) >= 0 ? "" : fmt::format("{} is neither zero nor a positive number", text);
}

void add_run_options(CLI::App& app, RunOptions& options) {
  app.add_option("--net", options.net,
                 fmt::format("Which network, unless the file of --init says: {}",
                             fmt::join(model_names(), ", ")))
      ->check(CLI::IsMember(model_names()).description(""))
      ->each([&options](const std::string&) { options.net_is_given = true; })
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Network and data");
  const std::map<std::string, ResNetShortcut> shortcuts = {{"A", ResNetShortcut::pad},
                                                           {"B", ResNetShortcut::projection}};
  app.add_option("--shortcut", options.shortcut,
                 "Where a ResNet's blocks change the size, their shortcut is A: padded, without "
                 "parameters; or B: a 1x1 convolution")
      ->transform(CLI::CheckedTransformer(shortcuts).description(""))
      ->each([&options](const std::string&) { options.shortcut_is_given = true; })
      ->type_name("A|B")
      ->default_str("B")
      ->group("Network and data");
  const std::map<std::string, Stem> stems = {{"cifar", Stem::cifar}, {"imagenet", Stem::imagenet}};
  app.add_option("--stem", options.stem,
                 "How it begins, unless the file of --init says: for images of 32 or of 224 pixels "
                 "(default: cifar for CIFAR and synthetic images; for folders, as its authors have "
                 "it)")
      ->transform(CLI::CheckedTransformer(stems).description(""))
      ->type_name("cifar|imagenet")
      ->group("Network and data");
  app.add_option("--init", options.init,
                 "Start from these weights: a .safetensors file of PyTorch or of this program")
      ->type_name("FILE")
      ->group("Network and data");
  app.add_flag("--replace-head", options.replace_head,
               "Give the network of --init a new classifier if it has more or fewer classes than "
               "the data")
      ->group("Network and data");
  app.add_option("--data", options.data,
                 "'synthetic', or a directory with CIFAR-10 or CIFAR-100 in binary form, or with "
                 "train/ and test/ folders of one folder of images a class")
      ->type_name("DIR")
      ->capture_default_str()
      ->group("Network and data");
  app.add_option("--limit", options.limit,
                 "Use only so many training images, and test images (0: all)")
      ->check(check_not_negative)
      ->type_name("N")
      ->capture_default_str()
      ->group("Network and data");
  app.add_option("--workers", options.workers,
                 "Threads that prepare batches ahead (0: none, prepare them in between)")
      ->check(CLI::Range(0, 64).description(""))
      ->type_name("N")
      ->capture_default_str()
      ->group("Network and data");
  app.add_option_function<std::string>(
         "--resident",
         [&options](const std::string& choice) {
           options.resident.reset();
           if (choice != "auto") options.resident = choice == "on";
         },
         "Keep all images where the network is, as bytes, and make the batches there, without "
         "workers: the same ones. on, off; auto: on a GPU, if the images have one size and take "
         "no more than 1 GiB")
      ->check(CLI::IsMember({"auto", "on", "off"}).description(""))
      ->type_name("WHEN")
      ->default_str("auto")
      ->group("Network and data");
  app.add_option("--batch-size", options.batch_size, "Images a step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{65536}).description(""))
      ->type_name("N")
      ->capture_default_str()
      ->group("Training");
  app.add_flag("--double", options.use_double, "Compute in double precision (slow)")
      ->group("Training");
  app.add_option("--seed", options.seed, "Of everything random")
      ->check(check_not_negative)
      ->type_name("N")
      ->capture_default_str()
      ->group("Training");
  add_device_options(app, options.device, "Training");
  app.add_option("--threads", options.threads,
                 "Threads that compute (0: one a core); results do not depend on it")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str()
      ->group("Training");
  CLI::Option* const graph =
      app.add_flag("--cuda-graph", options.cuda_graph,
                   "Have a GPU record a step and repeat it as a whole: the same results, sooner "
                   "where kernels are small")
          ->group("Training");
  app.add_option_function<std::string>(
         "--recompute",
         [&options](const std::string& text) {
           try {
             options.recompute = parse_recompute(text);
           } catch (const Error& error) {
             throw CLI::ValidationError("--recompute", error.what());
           }
         },
         "Less memory, more time, the same results: what backward computes again instead of "
         "keeping it. activations: in Train, the blocks' normalised outputs; blocks: each residual "
         "block's first convolution; activations,blocks: both; none")
      ->type_name("WHAT")
      ->default_str(to_string(options.recompute))
      ->group("Training");
  app.add_flag(
         "--keep-bf16", options.keep_bf16,
         "Half the memory for what backward needs of convolutions' inputs, which is rounded to "
         "bf16; rounds the gradients of filters")
      ->group("Training");
  app.add_option("--out", options.out, "Directory for metrics.csv, summary.json and more")
      ->type_name("DIR")
      ->group("Output");
  app.add_option("--json", options.json, "Also write the results to this file")
      ->type_name("FILE")
      ->group("Output");
  app.add_flag("--profile", options.profile,
               "At the end, print where the time of a step went, layer by layer")
      ->excludes(graph)
      ->group("Output");
  add_progress_option(app, options.progress);
  add_config_option(app);
}

void add_config_option(CLI::App& app) {
  app.set_config("--config", "", "Read options from this file, one a line, as in lr = 0.01")
      ->type_name("FILE");
  app.allow_config_extras(CLI::config_extras_mode::error);
}

void add_progress_option(CLI::App& app, ProgressStyle& progress) {
  const std::map<std::string, ProgressStyle> styles = {{"auto", ProgressStyle::automatic},
                                                       {"plain", ProgressStyle::plain},
                                                       {"off", ProgressStyle::off}};
  app.add_option("--progress", progress, "auto: a bar on a terminal, else lines; plain: lines; off")
      ->transform(CLI::CheckedTransformer(styles).description(""))
      ->type_name("STYLE")
      ->default_str("auto")
      ->group("Output");
}

void add_number_option(CLI::App& app, const char* name, std::int64_t& value, Limits limits,
                       const char* help) {
  add_training_number(app, name, value, limits, help)->capture_default_str();
}

void add_number_option(CLI::App& app, const char* name, double& value, Limits limits,
                       const char* help) {
  add_training_number(app, name, value, limits, help)->capture_default_str();
}

void add_number_option(CLI::App& app, const char* name, std::optional<double>& value, Limits limits,
                       const char* help, const char* default_text) {
  add_training_number(app, name, value, limits, help)->default_str(default_text);
}

void add_mode_option(CLI::App& app, std::optional<Mode>& mode) {
  app.add_option_function<std::string>(
         "--mode",
         [&mode](const std::string& name) {
           mode.reset();
           if (name != "auto") mode = modes_by_name().at(name);
         },
         "train, eval, tune or deploy: of the convolution + batch-norm blocks (arXiv 2305.11624); "
         "auto: train from scratch, tune from a file (--init)")
      ->check(CLI::IsMember({"auto", "train", "eval", "tune", "deploy"}).description(""))
      ->type_name("MODE")
      ->default_str("auto")
      ->group("Training");
}

void add_resume_options(CLI::App& app, std::string& resume, std::int64_t& checkpoint_every) {
  app.add_option("--resume", resume,
                 "Go on from a checkpoint, to the very results of a run that was never stopped; "
                 "auto: from the one in --out, or anew if there is none")
      ->type_name("auto|FILE")
      ->group("Output");
  app.add_option("--checkpoint-every", checkpoint_every,
                 "Write a checkpoint to --out after so many steps, too (0: after epochs alone)")
      ->check(check_not_negative)
      ->type_name("N")
      ->capture_default_str()
      ->group("Output");
}

void add_modes_option(CLI::App& app, std::vector<Mode>& modes) {
  app.add_option("--modes", modes, "Which modes to compare")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(modes_by_name()).description(""))
      ->type_name("MODE,...")
      ->default_str("train,eval,tune,deploy")
      ->group("Training");
  app.final_callback([&modes] {
    std::vector<Mode> sorted = modes;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      throw CLI::ValidationError("--modes", "a mode is named twice");
    }
  });
}

std::string describe(const RunOptions& options) {
  return describe(options.device, options.dtype()) + (options.cuda_graph ? ", recorded steps" : "");
}

nlohmann::json settings_json(const RunOptions& options) {
  return {{"version", version},
          {"net", options.net},
          {"shortcut", options.shortcut == ResNetShortcut::pad ? "A" : "B"},
          {"init", options.init.string()},
          {"data", options.data},
          {"limit", options.limit},
          {"batch_size", options.batch_size},
          {"dtype", to_string(options.dtype())},
          {"device", to_string(options.device.device)},
          {"precision", to_string(options.device.precision)},
          {"seed", options.seed},
          {"threads", num_threads()},
          {"recompute", to_string(options.recompute)},
          {"keep_bf16", options.keep_bf16},
          {"cuda_graph", options.cuda_graph},
          {"workers", options.workers},
          {"resident", options.resident ? nlohmann::json(*options.resident) : "auto"}};
}

int run_program(int argc, char** argv, const ProgramHelp& help,
                const std::function<void(CLI::App&)>& add_options,
                const std::function<int()>& body) {
  CLI::App app(help.about);
  add_options(app);
  app.set_version_flag("--version", fmt::format("attune {}", version));
  app.formatter(std::make_shared<HelpFormatter>());
  app.footer(help.examples);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return report(fmt::format("{} (--help lists the options)", one_line(error.what())),
                  kExitUsageError);
  }
  try {
    return body();
  } catch (const UsageError& error) {
    return report(fmt::format("{} (--help lists the options)", error.what()), kExitUsageError);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitRunError);
  } catch (const std::exception& error) {
    return report(error.what(), kExitRunError);
  }
}

int run_lesson(int argc, char** argv, const std::string& about,
               const std::function<void()>& lesson) {
  const auto no_options = [](CLI::App&) {};
  return run_program(argc, argv, {.about = about, .examples = ""}, no_options, [&lesson] {
    lesson();
    return kExitDone;
  });
}

}  // namespace attune::examples
