#include "support/model_options.h"

#include <attune/layers/models/make_model.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>

#include "support/normalization.h"

namespace attune::examples {
namespace {

constexpr const char* kNetwork = "Network";
constexpr const char* kOutput = "Output";
constexpr std::int64_t kMaxCount = 65536;

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options, Init init) {
  app.add_option("--init", options.init,
                 "Its weights: a .safetensors file of PyTorch or of these programs, deployed or "
                 "not, or a checkpoint")
      ->required(init == Init::required)
      ->type_name("FILE")
      ->group(kNetwork);
  app.add_option(
         "--net", options.net,
         fmt::format("Which network, unless the file says: {}", fmt::join(model_names(), ", ")))
      ->check(CLI::IsMember(model_names()).description(""))
      ->type_name("NAME")
      ->group(kNetwork);
  const std::map<std::string, ResNetShortcut> shortcuts = {{"A", ResNetShortcut::pad},
                                                           {"B", ResNetShortcut::projection}};
  app.add_option("--shortcut", options.shortcut,
                 "Of a ResNet, unless the file says: A, padded, or B, a 1x1 convolution (default)")
      ->transform(CLI::CheckedTransformer(shortcuts).description(""))
      ->type_name("A|B")
      ->group(kNetwork);
  const std::map<std::string, Stem> stems = {{"cifar", Stem::cifar}, {"imagenet", Stem::imagenet}};
  app.add_option("--stem", options.stem,
                 "How it begins, unless the file says: for images of 32 or of 224 pixels (default: "
                 "as its authors have it)")
      ->transform(CLI::CheckedTransformer(stems).description(""))
      ->type_name("cifar|imagenet")
      ->group(kNetwork);
  app.add_option("--threads", options.threads,
                 "Threads that compute (0: one a core); results do not depend on it")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str()
      ->group(kNetwork);
  add_path_option(app, "--json", options.json, "Also write the results to this file");
  add_config_option(app);
}

void add_model_device_options(CLI::App& app, ModelOptions& options) {
  add_device_options(app, options.device, kNetwork);
}

void add_normalize_option(CLI::App& app, std::optional<ChannelStatistics>& normalize) {
  app.add_option_function<std::string>(
         "--normalize",
         [&normalize](const std::string& text) { normalize = parse_statistics(text); },
         "How pixels from 0 to 1 are normalised: cifar, imagenet, or MEAN:STD with one number or "
         "three each (default: as the file says, or else as is usual for the images)")
      ->check([](const std::string& text) -> std::string {
        try {
          parse_statistics(text);
          return "";
        } catch (const Error& error) {
          return error.what();
        }
      })
      ->type_name("STATISTICS")
      ->group("Images");
}

void add_text_option(CLI::App& app, const char* name, std::string& value, const char* type,
                     const char* help) {
  app.add_option(name, value, help)->type_name(type)->capture_default_str()->group("Images");
}

void add_path_option(CLI::App& app, const char* name, std::filesystem::path& value,
                     const char* help, const char* group) {
  app.add_option(name, value, help)->type_name("FILE")->group(group);
}

void add_flag(CLI::App& app, const char* name, bool& value, const char* help) {
  app.add_flag(name, value, help)->group(kOutput);
}

void add_limit_option(CLI::App& app, std::int64_t& limit) {
  app.add_option("--limit", limit, "Use only so many images (0: all)")
      ->check(check_not_negative)
      ->type_name("N")
      ->capture_default_str()
      ->group("Images");
}

void add_count_option(CLI::App& app, const char* name, std::int64_t& value, const char* help,
                      std::int64_t least) {
  app.add_option(name, value, help)
      ->check(CLI::Range(least, kMaxCount).description(""))
      ->type_name("N")
      ->capture_default_str()
      ->group("Images");
}

void add_counts_option(CLI::App& app, const char* name, std::vector<std::int64_t>& values,
                       const char* help) {
  app.add_option(name, values, help)
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, kMaxCount).description(""))
      ->type_name("N,...")
      ->default_str(fmt::format("{}", fmt::join(values, ",")))
      ->group("Images");
}

void add_use_mode_option(CLI::App& app, Mode& mode) {
  const std::map<std::string, Mode> modes = {
      {"eval", Mode::eval}, {"tune", Mode::tune}, {"deploy", Mode::deploy}};
  app.add_option("--mode", mode, "eval, tune or deploy: results differ by rounding alone")
      ->transform(CLI::CheckedTransformer(modes).description(""))
      ->type_name("MODE")
      ->default_str("eval")
      ->group(kNetwork);
}

void add_arguments(CLI::App& app, const char* name, std::vector<std::string>& values,
                   const char* help) {
  app.add_option(name, values, help)->required()->type_name("")->group("Images");
}

}  // namespace attune::examples
