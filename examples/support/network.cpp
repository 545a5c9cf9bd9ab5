#include "support/network.h"

#include <attune/core/error.h>
#include <attune/layers/models/make_model.h>
#include <attune/layers/models/resnet.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "support/normalization.h"

namespace attune::examples {
namespace {

/// The option that may make a file fit, from what the library says about it.
std::string hint(const std::string& message, const RunOptions& options) {
  if (message.find("downsample") != std::string::npos) {
    return fmt::format(" (was the file's network one with --shortcut {}?)",
                       options.shortcut == ResNetShortcut::pad ? "B" : "A");
  }
  if (!options.replace_head && message.find("of another shape: fc.") != std::string::npos) {
    return " (--replace-head gives the network a new classifier)";
  }
  return {};
}

LoadReport initialize(Module& net, const RunOptions& options) {
  const Weights weights = read_weights(options.init);
  try {
    if (weights.deployed()) net.deploy();
    LoadReport report = load_weights(net, weights, {.replace_head = options.replace_head});
    if (weights.deployed()) net.undeploy();
    return report;
  } catch (const Error& error) {
    throw Error(error.what() + hint(error.what(), options));
  }
}

}  // namespace

std::shared_ptr<ImageClassifier> make_network(const std::string& name, const ModelVariant& variant,
                                              ResNetShortcut shortcut) {
  if (shortcut == ResNetShortcut::projection) return make_model(name, variant);
  const std::vector<std::string>& resnets = resnet_names();
  if (std::find(resnets.begin(), resnets.end(), name) == resnets.end()) {
    throw UsageError(fmt::format("--shortcut A is for ResNets, not for {}", name));
  }
  return make_resnet(name,
                     {.classes = variant.classes, .stem = variant.stem, .shortcut = shortcut});
}

Network build_network(const Task& task, const RunOptions& options) {
  Network network{.net = make_network(options.net, {.classes = task.classes(), .stem = task.stem},
                                      options.shortcut),
                  .origin = "from scratch"};
  if (options.use_double) network.net->to(DType::float64);
  network.net->set_recompute(options.recompute);
  if (options.init.empty()) return network;
  const LoadReport report = initialize(*network.net, options);
  network.origin = fmt::format("from {}", options.init.string());
  if (!report.replaced.empty()) {
    network.origin += fmt::format(" with a new head: {} classes instead of {}",
                                  report.replaced[0].wanted[0], report.replaced[0].found[0]);
  }
  network.net->set_mode(Mode::train);
  return network;
}

ModeReports predict_reports(const Task& task, const RunOptions& options) {
  RunOptions untrained = options;
  untrained.init.clear();
  return predict_reports([&] { return build_network(task, untrained).net; }, image_side(task.stem),
                         options.batch_size, options.use_double ? DType::float64 : DType::float32);
}

SafetensorsMetadata describe_network(const Task& task, const RunOptions& options) {
  return {{"attune.net", options.net},
          {"attune.shortcut", options.shortcut == ResNetShortcut::pad ? "A" : "B"},
          {"attune.stem", task.stem == Stem::cifar ? "cifar" : "imagenet"},
          {"attune.classes", nlohmann::json(task.train->classes()).dump()},
          {"attune.normalize", to_string(task.statistics)}};
}

}  // namespace attune::examples
