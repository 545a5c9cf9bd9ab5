// Folds a trained network for inference, and unfolds it: one convolution a block instead of
// convolution and batch normalisation. Writes weights, or a model for ONNX runtimes.

#include <attune/core/autograd.h>
#include <attune/core/error.h>
#include <attune/core/random.h>
#include <attune/layers/onnx.h>
#include <attune/layers/weights.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/output_files.h"
#include "support/saved_network.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  deploy --init runs/flowers/weights.safetensors --out deployed.safetensors --onnx flowers.onnx
  deploy --init deployed.safetensors --undeploy --out again.safetensors
  deploy --net resnet50 --init resnet50.safetensors --onnx resnet50.onnx)";

struct DeployOptions {
  ModelOptions model;
  std::filesystem::path out;
  std::filesystem::path onnx;
  bool undeploy = false;
  std::int64_t size = 0;
};

void add_options(CLI::App& app, DeployOptions& options) {
  add_model_options(app, options.model, Init::required);
  add_path_option(app, "--out", options.out, "Write the weights to this .safetensors file");
  add_path_option(app, "--onnx", options.onnx, "Write the deployed network as an ONNX model");
  add_flag(app, "--undeploy", options.undeploy,
           "The other way round: from a deployed file to one that can be trained in all modes");
  add_count_option(
      app, "--size", options.size,
      "Side of the ONNX model's images in pixels (0: as the file says, or else 224, or 32 "
      "with --stem cifar)");
}

void check(const DeployOptions& options) {
  if (options.out.empty() && options.onnx.empty()) {
    throw UsageError("--out or --onnx: there is nothing to write");
  }
  if (options.undeploy && !options.onnx.empty()) {
    throw UsageError("--onnx takes a deployed network, which --undeploy makes an end of");
  }
  const std::array files{options.out, options.onnx, options.model.json};
  for (const std::filesystem::path& file : files) {
    if (file.empty()) continue;
    if (std::count(files.begin(), files.end(), file) > 1) {
      throw UsageError(fmt::format("two of --out, --onnx, --json name {}", file.string()));
    }
    check_writable(file);
  }
}

/// What the network makes of noise that is the same every time.
std::vector<double> answer(SavedNetwork& network, std::int64_t side) {
  const NoGradGuard no_grad;
  Generator generator{1, 0};
  return (*network.net)(random_normal({1, side, side, 3}, 0, 1, generator)).to_vector<double>();
}

int run(const DeployOptions& options) {
  check(options);
  SavedNetwork network = open_network(options.model);
  const std::string file = options.model.init.string();
  if (options.undeploy && !network.deployed) {
    throw Error(fmt::format("{}: is not deployed, so there is nothing to undo", file));
  }
  const std::int64_t side = options.size > 0 ? options.size : network.side;
  const std::int64_t before = network.net->parameter_count();
  const std::vector<double> wanted = answer(network, side);
  const bool was_deployed = network.deployed;
  use_mode(network, options.undeploy ? Mode::eval : Mode::deploy);
  const std::vector<double> found = answer(network, side);

  if (!std::all_of(found.begin(), found.end(), [](double logit) { return std::isfinite(logit); })) {
    throw Error(fmt::format("{}: the network's output is not finite", file));
  }
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    difference = std::max(difference, std::abs(found[i] - wanted[i]));
    largest = std::max(largest, std::abs(wanted[i]));
  }
  std::cout << fmt::format(
      "{}: {}, {} parameters, {} before; logits of a random image differ by at most {:.1e} of "
      "{:.3g}\n",
      network.name,
      options.undeploy ? "undeployed" : (was_deployed ? "deployed already" : "deployed"),
      network.net->parameter_count(), before, difference, largest);
  if (!options.out.empty()) {
    save_weights(*network.net, options.out, {.metadata = network.metadata});
    std::cout << "weights: " << options.out.string() << "\n";
  }
  if (!options.onnx.empty()) {
    write_onnx(*network.net, {1, side, side, 3}, options.onnx, {.metadata = network.metadata});
    std::cout << fmt::format("model: {}, images [batch, 3, {}, {}]\n", options.onnx.string(), side,
                             side);
  }
  if (!options.model.json.empty()) {
    const nlohmann::json json{{"version", version},
                              {"net", network.name},
                              {"init", file},
                              {"deployed", network.deployed},
                              {"parameters_before", before},
                              {"parameters", network.net->parameter_count()},
                              {"largest_difference", difference},
                              {"largest_logit", largest},
                              {"out", options.out.string()},
                              {"onnx", options.onnx.string()}};
    write_json(options.model.json, json);
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  DeployOptions options;
  return run_program(
      argc, argv,
      {.about = "Folds a trained network for inference and writes its weights or an ONNX model.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
