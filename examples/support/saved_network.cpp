#include "support/saved_network.h"

#include <attune/core/device.h>
#include <attune/core/error.h>
#include <attune/layers/construct_on.h>
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

/// What options say, or else the file, or else is usual.
NetworkChoice choose_network(const Weights& file, const NetworkDescription& description,
                             const ModelOptions& options) {
  NetworkChoice choice{.net = options.net.empty() ? description.net.value_or("") : options.net};
  if (choice.net.empty()) {
    throw Error(fmt::format("{}: does not say which network it is of (--net NAME)", file.file));
  }
  choice.stem = options.stem.value_or(description.stem.value_or(usual_stem(choice.net)));
  choice.shortcut =
      options.shortcut.value_or(description.shortcut.value_or(ResNetShortcut::projection));
  return choice;
}

/// Only linear layers have weights of rank 2, and the classifier is the last of them by name.
std::int64_t count_classes(const Weights& file) {
  const std::pair<std::string, Tensor>* last = nullptr;
  for (const auto& named : file.tensors) {
    if (named.second.rank() != 2 || !named.first.ends_with(kWeight)) continue;
    if (last == nullptr || named.first > last->first) last = &named;
  }
  if (last == nullptr || last->second.count() == 0) {
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

std::shared_ptr<ImageClassifier> load_network(const NetworkChoice& choice, std::int64_t classes,
                                              const Weights& file) {
  auto net = make_network(choice, classes);
  if (file.deployed()) net->deploy();
  load_weights(*net, file);
  return net;
}

ChannelStatistics file_statistics(const Weights& file, const std::string& text) {
  try {
    return parse_statistics(text);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: metadata attune.normalize: {}", file.file, error.what()));
  }
}

}  // namespace

SavedNetwork open_network(const ModelOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  const Weights file = read_weights(options.init);
  const NetworkDescription description = read_description(file);
  const NetworkChoice choice = choose_network(file, description, options);
  const std::int64_t classes = count_classes(file);
  try {
    // First without memory: a file may announce more classes than it has weights for.
    const ConstructOn scope(Device::meta);
    load_network(choice, classes, file);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw Error(error.what() + fitting_options(file, choice));
  }
  SavedNetwork network;
  network.net = load_network(choice, classes, file);
  network.deployed = file.deployed();
  network.name = choice.net;
  network.stem = choice.stem;
  network.side = description.side.value_or(image_side(choice.stem));
  network.metadata = file.metadata;
  if (!network.deployed) network.net->set_mode(Mode::eval);
  network.net->train(false);
  network.classes = class_names(file, classes);
  if (const std::string* const text = find(file.metadata, "attune.normalize")) {
    network.normalize = file_statistics(file, *text);
  }
  network.metadata["attune.net"] = choice.net;
  network.metadata["attune.shortcut"] = to_string(choice.shortcut);
  network.metadata["attune.stem"] = to_string(choice.stem);
  network.metadata["attune.size"] = std::to_string(network.side);
  for (const char* const key : {"format", "attune.mode", "attune.checkpoint", "attune.run"}) {
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
