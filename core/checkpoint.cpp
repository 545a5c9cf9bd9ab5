#include "attune/core/checkpoint.h"

#include <nlohmann/json.hpp>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/pytorch_layout.h"

namespace attune {
namespace {

constexpr const char* kCountersKey = "attune.checkpoint";
constexpr const char* kRunKey = "attune.run";
constexpr std::int64_t kVersion = 1;

constexpr std::string_view kModel = "model.";
constexpr std::string_view kOptimizer = "optimizer.";
constexpr std::string_view kEma = "ema.";

void append(std::string_view prefix, const NamedTensors& tensors, NamedTensors& all) {
  for (const auto& [name, tensor] : tensors) all.emplace_back(std::string(prefix) + name, tensor);
}

NamedTensors part(std::string_view prefix, const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix)) tensors.emplace_back(name.substr(prefix.size()), tensor);
  }
  return tensors;
}

// Throws nlohmann's exceptions, which say what is missing or of another kind.
void read_counters(const nlohmann::json& counters, const std::string& where,
                   Checkpoint& checkpoint) {
  const auto version = counters.at("version").get<std::int64_t>();
  if (version != kVersion) {
    throw Error(format_text("{}: its format is number {}, but this program knows {} alone", where,
                            version, kVersion));
  }
  const auto count = [&](const char* name) {
    const auto value = counters.at(name).get<std::int64_t>();
    if (value < 0) throw Error(format_text("{}: {} is {}", where, name, value));
    return value;
  };
  checkpoint.epoch = count("epoch");
  checkpoint.batch = count("batch");
  checkpoint.step = count("step");
  checkpoint.random = {.seed = counters.at("random_seed").get<std::uint64_t>(),
                       .uses = counters.at("random_uses").get<std::uint64_t>()};
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  NamedTensors tensors;
  append(kModel, to_pytorch_layout(checkpoint.model), tensors);
  append(kOptimizer, checkpoint.optimizer, tensors);
  append(kEma, checkpoint.ema, tensors);
  const nlohmann::json counters{{"version", kVersion},
                                {"epoch", checkpoint.epoch},
                                {"batch", checkpoint.batch},
                                {"step", checkpoint.step},
                                {"random_seed", checkpoint.random.seed},
                                {"random_uses", checkpoint.random.uses}};
  SafetensorsMetadata metadata = checkpoint.metadata;
  metadata[kCountersKey] = counters.dump();
  metadata[kRunKey] = checkpoint.run;
  write_safetensors(path, tensors, metadata);
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  const SafetensorsFile file = read_safetensors(path);
  const std::string where = "checkpoint: " + path.string();
  if (!is_checkpoint(file)) {
    throw Error(
        format_text("{}: this is no checkpoint, for its metadata has no {}", where, kCountersKey));
  }
  Checkpoint checkpoint{.model = from_pytorch_layout(checkpoint_model(file)),
                        .optimizer = part(kOptimizer, file),
                        .ema = part(kEma, file)};
  if (checkpoint.model.size() + checkpoint.optimizer.size() + checkpoint.ema.size() !=
      file.tensors.size()) {
    throw Error(format_text("{}: a tensor belongs to none of {}*, {}*, {}*", where, kModel,
                            kOptimizer, kEma));
  }
  try {
    read_counters(nlohmann::json::parse(file.metadata.at(kCountersKey)), where, checkpoint);
  } catch (const nlohmann::json::exception& error) {
    throw Error(format_text("{}: {}: {}", where, kCountersKey, error.what()));
  }
  for (const auto& [key, value] : file.metadata) {
    if (key == kRunKey) {
      checkpoint.run = value;
    } else if (key != kCountersKey) {
      checkpoint.metadata.emplace(key, value);
    }
  }
  return checkpoint;
}

bool is_checkpoint(const SafetensorsFile& file) { return file.metadata.contains(kCountersKey); }

NamedTensors checkpoint_model(const SafetensorsFile& file) { return part(kModel, file); }

}  // namespace attune
