#include "support/saved_network.h"

#include <attune/core/device.h>
#include <attune/core/error.h>
#include <attune/layers/models/make_model.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/network.h"
#include "support/normalization.h"

namespace attune::examples {
namespace {

constexpr std::string_view kWeight = ".weight";

const std::string* find(const SafetensorsMetadata& metadata, const char* key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

std::string network_name(const Weights& file, const ModelOptions& options) {
  if (!options.net.empty()) return options.net;
  const std::string* const name = find(file.metadata, "attune.net");
  if (name == nullptr) {
    throw Error(fmt::format("{}: does not say which network it is of (--net NAME)", file.file));
  }
  return *name;
}

Stem network_stem(const Weights& file, const std::string& name, const ModelOptions& options) {
  const Stem usual = usual_stem(name);
  if (options.stem) return *options.stem;
  const std::string* const stem = find(file.metadata, "attune.stem");
  if (stem == nullptr) return usual;
  return *stem == "cifar" ? Stem::cifar : Stem::imagenet;
}

ResNetShortcut network_shortcut(const Weights& file, const ModelOptions& options) {
  if (options.shortcut) return *options.shortcut;
  const std::string* const shortcut = find(file.metadata, "attune.shortcut");
  return shortcut != nullptr && *shortcut == "A" ? ResNetShortcut::pad : ResNetShortcut::projection;
}

/// Only linear layers have weights of rank 2, and the classifier is the last of them by name.
std::int64_t count_classes(const Weights& file) {
  const std::pair<std::string, Tensor>* last = nullptr;
  for (const auto& named : file.tensors) {
    if (named.second.rank() != 2 || !named.first.ends_with(kWeight)) continue;
    if (last == nullptr || named.first > last->first) last = &named;
  }
  if (last == nullptr || last->second.size(0) < 1) {
    throw Error(fmt::format("{}: has no classifier (a tensor .weight of rank 2)", file.file));
  }
  return last->second.size(0);
}

/// A list of as many names as there are classes.
std::vector<std::string> class_names(const Weights& file, std::int64_t count) {
  const std::string* const text = find(file.metadata, "attune.classes");
  if (text == nullptr) return {};
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  const bool names = json.is_array() && std::all_of(json.begin(), json.end(), [](const auto& name) {
                       return name.is_string();
                     });
  if (!names || json.size() != static_cast<std::size_t>(count)) {
    throw Error(
        fmt::format("{}: metadata attune.classes is no list of {} names", file.file, count));
  }
  return json.get<std::vector<std::string>>();
}

/// The option that may make a file fit, from what the library says about it.
std::string hint(const std::string& message) {
  if (message.find("downsample") != std::string::npos) {
    return " (was the file's network one with another --shortcut?)";
  }
  if (message.find("of another shape: conv1.weight") != std::string::npos) {
    return " (was the file's network one with another --stem?)";
  }
  return {};
}

}  // namespace

SavedNetwork open_network(const ModelOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  const Weights file = read_weights(options.init);
  SavedNetwork network;
  network.name = network_name(file, options);
  network.stem = network_stem(file, network.name, options);
  network.deployed = file.deployed();
  network.metadata = file.metadata;
  const ResNetShortcut shortcut = network_shortcut(file, options);
  const std::int64_t classes = count_classes(file);
  network.net = make_network(network.name, {.classes = classes, .stem = network.stem}, shortcut);
  if (network.deployed) network.net->deploy();
  try {
    load_weights(*network.net, file);
  } catch (const Error& error) {
    throw Error(error.what() + hint(error.what()));
  }
  if (!network.deployed) network.net->set_mode(Mode::eval);
  network.net->train(false);
  network.classes = class_names(file, classes);
  if (const std::string* const text = find(file.metadata, "attune.normalize")) {
    network.normalize = parse_statistics(*text);
  }
  network.metadata["attune.net"] = network.name;
  network.metadata["attune.shortcut"] = shortcut == ResNetShortcut::pad ? "A" : "B";
  network.metadata["attune.stem"] = network.stem == Stem::cifar ? "cifar" : "imagenet";
  for (const char* const key : {"attune.mode", "attune.checkpoint", "attune.run"}) {
    network.metadata.erase(key);
  }
  return network;
}

void use_mode(SavedNetwork& network, Mode mode) {
  if (network.deployed && mode != Mode::deploy) {
    network.net->undeploy();
  } else if (!network.deployed && mode == Mode::deploy) {
    network.net->deploy();
  }
  network.deployed = mode == Mode::deploy;
  network.net->set_mode(mode);
}

std::string class_name(const std::vector<std::string>& classes, std::int64_t index) {
  return classes.empty() ? fmt::format("class {}", index)
                         : classes[static_cast<std::size_t>(index)];
}

}  // namespace attune::examples
