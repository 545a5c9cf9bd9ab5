#include "attune/layers/weights.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "attune/core/checkpoint.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/pytorch_layout.h"
#include "attune/layers/linear.h"

namespace attune {
namespace {

constexpr const char* kModeKey = "attune.mode";
constexpr std::string_view kFolded = ".folded_bn.";
constexpr std::string_view kDataParallel = "module.";
constexpr std::array<std::string_view, 2> kHeadNames{"fc", "linear"};

bool is_deployed(const NamedTensors& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const auto& named) {
    return named.first.find(kFolded) != std::string::npos;
  });
}

bool all_begin_with(std::string_view prefix, const NamedTensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const auto& named) { return named.first.starts_with(prefix); });
}

void remove_prefix(std::string_view prefix, NamedTensors& tensors) {
  for (auto& [name, tensor] : tensors) name = name.substr(prefix.size());
}

/// The last Linear layer's name; empty if there is none, or it is the module itself.
std::string head_of(const Module& module) {
  std::string head;
  module.for_each_module([&](const std::string& name, const Module& part) {
    if (dynamic_cast<const Linear*>(&part) != nullptr) head = name;
  });
  return head;
}

/// "linear.weight" as "fc.weight", for (linear, fc); nothing for names outside `from`.
std::optional<std::string> moved(const std::string& name, std::string_view from,
                                 std::string_view to) {
  if (!name.starts_with(from) || name.size() == from.size() || name[from.size()] != '.') return {};
  return std::string(to) + name.substr(from.size());
}

/// What the module may call what the file calls `name`.
std::vector<std::string> other_names(const std::string& name, const std::string& head) {
  std::vector<std::string> others;
  for (const std::string_view other : kHeadNames) {
    const auto in_head = moved(name, other, head);
    if (in_head && !head.empty()) others.push_back(*in_head);
  }
  constexpr std::string_view shortcut = ".shortcut.";
  const std::size_t at = name.find(shortcut);
  if (at != std::string::npos) {
    others.push_back(std::string(name).replace(at, shortcut.size(), ".downsample."));
  }
  return others;
}

/// Gives tensors the module's names where theirs are unknown to it and another way to write them is
/// not, and is not taken.
void adopt_names(const NamedTensors& wanted, const std::string& head, NamedTensors& tensors) {
  std::unordered_set<std::string> known, taken;
  for (const auto& [name, tensor] : wanted) known.insert(name);
  for (const auto& [name, tensor] : tensors) taken.insert(name);
  for (auto& [name, tensor] : tensors) {
    if (known.contains(name)) continue;
    for (const std::string& other : other_names(name, head)) {
      if (!known.contains(other) || !taken.insert(other).second) continue;
      name = other;
      break;
    }
  }
}

/// Lets the module's own head stand in for one of the file that has other classes, and returns what
/// it did: shapes that differ in the first axis alone.
std::vector<LoadReport::Mismatch> keep_own_head(const NamedTensors& own, const std::string& head,
                                                NamedTensors& tensors) {
  std::unordered_map<std::string, Tensor> own_head;
  for (const auto& [name, tensor] : own) {
    if (moved(name, head, head)) own_head.emplace(name, tensor);
  }
  std::vector<LoadReport::Mismatch> replaced;
  for (auto& [name, tensor] : tensors) {
    const auto found = own_head.find(name);
    if (found == own_head.end() || found->second.shape() == tensor.shape()) continue;
    Shape other_classes = tensor.shape();
    if (other_classes.rank() > 0) other_classes.set(0, found->second.size(0));
    if (other_classes != found->second.shape()) continue;
    replaced.push_back({name, found->second.shape(), tensor.shape()});
    tensor = found->second;
  }
  return replaced;
}

}  // namespace

bool Weights::deployed() const { return is_deployed(tensors); }

Weights read_weights(const std::filesystem::path& path) {
  SafetensorsFile file = read_safetensors(path);
  if (is_checkpoint(file)) file.tensors = checkpoint_model(file);
  return {.file = path.string(),
          .tensors = from_pytorch_layout(file.tensors),
          .metadata = std::move(file.metadata)};
}

LoadReport load_weights(Module& module, const Weights& weights, const LoadOptions& options) {
  const NamedTensors own = module.state_dict();
  if (weights.deployed() != is_deployed(own)) {
    throw Error(weights.file + (weights.deployed()
                                    ? ": this is a deployed network; call deploy() before loading"
                                    : ": this is no deployed network, but the one to load it into "
                                      "is; call undeploy() before loading"));
  }
  NamedTensors tensors = weights.tensors;
  if (all_begin_with(kDataParallel, tensors) && !all_begin_with(kDataParallel, own)) {
    remove_prefix(kDataParallel, tensors);
  }
  const std::string head = head_of(module);
  adopt_names(own, head, tensors);
  std::vector<LoadReport::Mismatch> replaced;
  if (options.replace_head && !head.empty()) replaced = keep_own_head(own, head, tensors);

  try {
    LoadReport report = module.load_state_dict(tensors, options.strict);
    report.replaced = std::move(replaced);
    return report;
  } catch (const Error& error) {
    throw Error(weights.file + ": " + error.what());
  }
}

LoadReport load_weights(Module& module, const std::filesystem::path& path,
                        const LoadOptions& options) {
  return load_weights(module, read_weights(path), options);
}

void save_weights(const Module& module, const std::filesystem::path& path,
                  const SaveOptions& options) {
  NamedTensors tensors = to_pytorch_layout(module.state_dict());
  const std::string head = head_of(module);
  for (auto& [name, tensor] : tensors) {
    if (options.head.empty() || head.empty()) break;
    name = moved(name, head, options.head).value_or(name);
  }
  SafetensorsMetadata metadata = options.metadata;
  metadata.emplace("format", "pt");  // PyTorch's own programs look for it
  if (is_deployed(tensors)) metadata[kModeKey] = to_string(Mode::deploy);
  write_safetensors(path, tensors, metadata);
}

}  // namespace attune
