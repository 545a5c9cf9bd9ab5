#include "support/network.h"

#include <attune/core/error.h>
#include <attune/layers/construct_on.h>
#include <attune/layers/models/make_model.h>
#include <attune/layers/models/resnet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "support/normalization.h"

namespace attune::examples {
namespace {

constexpr const char* kNet = "attune.net";
constexpr const char* kStem = "attune.stem";
constexpr const char* kShortcut = "attune.shortcut";
constexpr const char* kSize = "attune.size";
// A file decides how much memory its network takes; beyond this it is not believed.
constexpr std::int64_t kLargestSide = 1024;

bool is_resnet(const std::string& net) {
  const std::vector<std::string>& resnets = resnet_names();
  return std::find(resnets.begin(), resnets.end(), net) != resnets.end();
}

/// The value that metadata `key` of a file is the name of; nothing if it has none.
template <typename T>
std::optional<T> named_value(const Weights& file, const char* key,
                             const std::map<std::string, T>& values) {
  const auto text = file.metadata.find(key);
  if (text == file.metadata.end()) return {};
  const auto value = values.find(text->second);
  if (value == values.end()) {
    throw Error(fmt::format("{}: metadata {} is '{}', neither {} nor {}", file.file, key,
                            text->second, values.begin()->first, values.rbegin()->first));
  }
  return value->second;
}

std::optional<std::int64_t> named_side(const Weights& file) {
  const auto text = file.metadata.find(kSize);
  if (text == file.metadata.end()) return {};
  const char* const begin = text->second.data();
  const char* const end = begin + text->second.size();
  std::int64_t side = 0;
  const auto [stop, error] = std::from_chars(begin, end, side);
  if (error != std::errc() || stop != end || side < 1 || side > kLargestSide) {
    throw Error(fmt::format("{}: metadata {} is '{}', not 1 to {} pixels", file.file, kSize,
                            text->second, kLargestSide));
  }
  return side;
}

/// Whether the file is of this network, for however many classes.
bool fits(const Weights& file, const NetworkChoice& choice) {
  const ConstructOn scope(Device::meta);
  try {
    const auto net = make_network(choice, 0);
    if (file.deployed()) net->deploy();
    load_weights(*net, file, {.replace_head = true});
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// All networks there are, those that differ least from `choice` first.
std::vector<NetworkChoice> alternatives(const NetworkChoice& choice) {
  std::vector<std::string> nets{choice.net};
  for (const std::string& net : model_names()) {
    if (net != choice.net) nets.push_back(net);
  }
  std::vector<NetworkChoice> all;
  for (const std::string& net : nets) {
    for (const Stem stem :
         {net == choice.net ? choice.stem : usual_stem(net), Stem::cifar, Stem::imagenet}) {
      all.push_back({net, stem, ResNetShortcut::projection});
      if (is_resnet(net)) all.push_back({net, stem, ResNetShortcut::pad});
    }
  }
  return all;
}

LoadReport initialize(Module& net, const NetworkChoice& choice, const RunOptions& options) {
  const Weights weights = read_weights(options.init);
  try {
    if (weights.deployed()) net.deploy();
    LoadReport report = load_weights(net, weights, {.replace_head = options.replace_head});
    if (weights.deployed()) net.undeploy();
    return report;
  } catch (const Error& error) {
    throw Error(error.what() + (fits(weights, choice)
                                    ? " (--replace-head gives the network a new classifier)"
                                    : fitting_options(weights, choice)));
  }
}

}  // namespace

std::string to_string(Stem stem) { return stem == Stem::cifar ? "cifar" : "imagenet"; }
std::string to_string(ResNetShortcut shortcut) {
  return shortcut == ResNetShortcut::pad ? "A" : "B";
}

NetworkDescription read_description(const Weights& file) {
  NetworkDescription description;
  const auto net = file.metadata.find(kNet);
  if (net != file.metadata.end()) {
    const std::vector<std::string>& known = model_names();
    if (std::find(known.begin(), known.end(), net->second) == known.end()) {
      throw Error(fmt::format("{}: metadata {} is '{}', which is none of {}", file.file, kNet,
                              net->second, fmt::join(known, ", ")));
    }
    description.net = net->second;
  }
  description.stem =
      named_value<Stem>(file, kStem, {{"cifar", Stem::cifar}, {"imagenet", Stem::imagenet}});
  description.shortcut = named_value<ResNetShortcut>(
      file, kShortcut, {{"A", ResNetShortcut::pad}, {"B", ResNetShortcut::projection}});
  description.side = named_side(file);
  return description;
}

void follow_description(RunOptions& options, const std::filesystem::path& file) {
  const NetworkDescription description = read_description(read_weights(file));
  if (!options.net_is_given && description.net) options.net = *description.net;
  if (!options.stem) options.stem = description.stem;
  if (!options.shortcut_is_given && description.shortcut) options.shortcut = *description.shortcut;
}

std::string fitting_options(const Weights& file, const NetworkChoice& choice) {
  for (const NetworkChoice& other : alternatives(choice)) {
    if (!fits(file, other)) continue;
    std::string text = " (it fits";
    if (other.net != choice.net) text += " --net " + other.net;
    const bool is_usual = other.net == choice.net || other.stem == usual_stem(other.net);
    if (other.stem != choice.stem || !is_usual) {
      text += " --stem " + to_string(other.stem);
    }
    if (other.shortcut != choice.shortcut) text += " --shortcut " + to_string(other.shortcut);
    return text + ")";
  }
  return {};
}

std::shared_ptr<ImageClassifier> make_network(const NetworkChoice& choice, std::int64_t classes) {
  if (choice.shortcut == ResNetShortcut::projection) {
    return make_model(choice.net, {.classes = classes, .stem = choice.stem});
  }
  if (!is_resnet(choice.net)) {
    throw UsageError(fmt::format("--shortcut A is for ResNets, not for {}", choice.net));
  }
  return make_resnet(choice.net,
                     {.classes = classes, .stem = choice.stem, .shortcut = choice.shortcut});
}

Network build_network(const Task& task, const RunOptions& options) {
  const NetworkChoice choice{options.net, task.stem, options.shortcut};
  Network network{.net = make_network(choice, task.classes()), .origin = "from scratch"};
  if (options.use_double) network.net->to(DType::float64);
  network.net->set_recompute(options.recompute);
  if (options.init.empty()) return network;
  const LoadReport report = initialize(*network.net, choice, options);
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
  return predict_reports([&] { return build_network(task, untrained).net; }, task.side,
                         options.batch_size, options.use_double ? DType::float64 : DType::float32);
}

SafetensorsMetadata describe_network(const Task& task, const RunOptions& options) {
  return {{kNet, options.net},
          {kShortcut, to_string(options.shortcut)},
          {kStem, to_string(task.stem)},
          {kSize, std::to_string(task.side)},
          {"attune.classes", nlohmann::json(task.train->classes()).dump()},
          {"attune.normalize", to_string(task.statistics)}};
}

}  // namespace attune::examples
