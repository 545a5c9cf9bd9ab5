// Says how good a saved network is: on CIFAR-10, CIFAR-100, a folder of images or the synthetic
// ones.

#include <attune/core/error.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evaluate/evaluation.h"
#include "support/interrupt.h"
#include "support/normalization.h"
#include "support/output_files.h"
#include "support/saved_network.h"
#include "support/tasks.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  evaluate --init runs/cifar10/weights.safetensors --data ~/cifar
  evaluate --init runs/flowers/weights.safetensors --data ~/flowers --mode deploy --json result.json
  evaluate --net resnet20 --shortcut A --init resnet20.safetensors --data ~/cifar \
           --normalize imagenet                    # a file of PyTorch, trained with these statistics)";

struct EvaluateOptions {
  ModelOptions model;
  std::string data = "synthetic";
  std::optional<ChannelStatistics> normalize;
  Mode mode = Mode::eval;
  std::int64_t limit = 0;
};

void add_options(CLI::App& app, EvaluateOptions& options) {
  add_model_options(app, options.model, Init::required);
  add_model_device_options(app, options.model);
  add_use_mode_option(app, options.mode);
  add_text_option(app, "--data", options.data, "DIR",
                  "'synthetic', or a directory with CIFAR-10 or CIFAR-100 in binary form, or with "
                  "one folder of images a class, or with test/ or val/ of this kind");
  add_normalize_option(app, options.normalize);
  add_limit_option(app, options.limit);
  add_progress_option(app, options.model.progress);
}

DataLoader open_batches(const TestSet& set, std::int64_t side,
                        const ChannelStatistics& statistics) {
  const Compose transform =
      set.are_pictures ? picture_transform(side, statistics) : cifar_test(statistics);
  const std::int64_t batch_size = std::min(std::int64_t{64}, set.images->size());
  return {set.images, transform, {.batch_size = batch_size}};
}

int run(const EvaluateOptions& options) {
  const InterruptGuard guard;
  if (!options.model.json.empty()) check_writable(options.model.json);
  const DeviceScope device(options.model.device);
  SavedNetwork network = open_network(options.model);
  use_mode(network, options.mode);
  const TestSet set = open_test_set(options.data, network.classes, options.limit);
  const std::vector<std::string>& classes = set.images->classes();
  if (network.net->classes() != static_cast<std::int64_t>(classes.size())) {
    throw Error(fmt::format("{}: the network has {} classes, the images ({}) are of {}",
                            options.model.init.string(), network.net->classes(), set.name,
                            classes.size()));
  }
  const ChannelStatistics statistics =
      options.normalize.value_or(network.normalize.value_or(set.statistics));

  Progress progress("test", set.images->size(), "images", options.model.progress);
  const Evaluation result =
      evaluate(*network.net, open_batches(set, network.side, statistics), classes, progress);
  progress.finish();
  if (interrupted()) {
    std::cerr << "interrupted: there is no result" << std::endl;
    return kExitInterrupted;
  }
  std::cout << fmt::format("{} in mode {} on {} ({})\n", network.name,
                           attune::to_string(options.mode), set.name,
                           describe(options.model.device))
            << to_text(result);
  if (!options.model.json.empty()) {
    nlohmann::json json = to_json(result);
    json["settings"] = {{"version", version},
                        {"net", network.name},
                        {"init", options.model.init.string()},
                        {"mode", attune::to_string(options.mode)},
                        {"device", attune::to_string(options.model.device.device)},
                        {"precision", attune::to_string(options.model.device.precision)},
                        {"data", options.data},
                        {"limit", options.limit},
                        {"normalize", to_string(statistics)}};
    write_json(options.model.json, json);
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  EvaluateOptions options;
  return run_program(
      argc, argv,
      {.about = "Tests a saved network: accuracy (top-1, top-5, of each class) and confusions.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
