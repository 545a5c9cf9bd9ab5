// What a network consists of, and what training it would keep in memory, without running it.

#include <attune/layers/construct_on.h>
#include <attune/layers/models/make_model.h>
#include <attune/layers/summary.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/network.h"
#include "support/normalization.h"
#include "support/output_files.h"
#include "support/prediction.h"
#include "support/saved_network.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  summary --net resnet50
  summary --net mobilenet_v2 --size 160 --batch-size 8,64,256 --classes 102
  summary --init runs/flowers/weights.safetensors --json summary.json)";

struct SummaryOptions {
  ModelOptions model;
  std::int64_t classes = 0;
  std::int64_t size = 0;
  std::vector<std::int64_t> batch_sizes{1, 32, 128};
};

void add_options(CLI::App& app, SummaryOptions& options) {
  add_model_options(app, options.model, Init::optional);
  add_count_option(app, "--classes", options.classes,
                   "Classes (0: those of --init, or as many as the network's authors had)");
  add_count_option(
      app, "--size", options.size,
      "Side of the images in pixels (0: as --init says, or else 224, or 32 with --stem "
      "cifar)");
  add_counts_option(app, "--batch-size", options.batch_sizes,
                    "Images a step; several may be given");
}

/// The network that options and file ask for.
struct Subject {
  std::string name;
  NetworkMaker make;
  std::int64_t side;
};

Subject find_subject(const SummaryOptions& options) {
  ModelOptions model = options.model;
  std::int64_t classes = options.classes, side = options.size;
  if (!model.init.empty()) {
    const SavedNetwork network = open_network(model);
    model.net = network.name;
    model.stem = network.stem;
    model.shortcut = network.metadata.at("attune.shortcut") == "A" ? ResNetShortcut::pad
                                                                   : ResNetShortcut::projection;
    if (classes == 0) classes = network.net->classes();
    if (side == 0) side = network.side;
  } else if (model.net.empty()) {
    throw UsageError("--net or --init: which network?");
  }
  const NetworkChoice choice{model.net, model.stem.value_or(usual_stem(model.net)),
                             model.shortcut.value_or(ResNetShortcut::projection)};
  return {.name = model.net,
          .make = [=] { return make_network(choice, classes); },
          .side = side > 0 ? side : image_side(choice.stem)};
}

int run(const SummaryOptions& options) {
  if (!options.model.json.empty()) check_writable(options.model.json);
  const Subject subject = find_subject(options);
  const std::shared_ptr<ImageClassifier> net = [&] {
    const ConstructOn scope(Device::meta);
    return subject.make();
  }();
  const Summary layers = summarize(*net, {1, subject.side, subject.side, 3});
  const std::int64_t filters = folded_filter_bytes(*net);

  nlohmann::json memory = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows;
  for (const std::int64_t batch : options.batch_sizes) {
    const auto bytes = predict_saved_bytes(subject.make, subject.side, batch);
    nlohmann::json entry{{"batch_size", batch}};
    rows.push_back({std::to_string(batch)});
    for (std::size_t i = 0; i < kModes.size(); ++i) {
      rows.back().push_back(mebibytes(bytes[i]));
      entry[attune::to_string(kModes[i])] = bytes[i];
    }
    const std::int64_t published = bytes[2] + filters;  // 2: Tune
    rows.back().push_back(mebibytes(published));
    entry["published_tune"] = published;
    memory.push_back(entry);
  }
  const auto one = predict_saved_bytes(subject.make, subject.side, 1);
  const std::optional<std::int64_t> break_even = published_break_even(one[1], one[2], filters);

  std::cout << subject.name << "\n"
            << to_string(layers) << "\nMiB kept for the backward pass of a step:\n"
            << text_table({"batch", "train", "eval", "tune", "deploy", "published tune"}, rows)
            << fmt::format("The published Tune also keeps the folded filters, {} MiB: it {}.\n",
                           mebibytes(filters),
                           break_even ? fmt::format("needs less than Eval from {} image{} on",
                                                    *break_even, *break_even == 1 ? "" : "s")
                                      : "never needs less than Eval");
  if (!options.model.json.empty()) {
    nlohmann::json table = nlohmann::json::array();
    for (const Summary::Row& row : layers.rows) {
      table.push_back({{"name", row.name},
                       {"type", row.type},
                       {"output", std::vector<std::int64_t>(row.output.begin(), row.output.end())},
                       {"parameters", row.parameters},
                       {"flops", row.flops}});
    }
    const nlohmann::json json{
        {"version", version},
        {"net", subject.name},
        {"size", subject.side},
        {"classes", net->classes()},
        {"parameters", layers.parameters},
        {"flops", layers.flops},
        {"layers", table},
        {"saved_bytes", memory},
        {"folded_filter_bytes", filters},
        {"published_break_even", break_even ? nlohmann::json(*break_even) : nlohmann::json()}};
    write_json(options.model.json, json);
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  SummaryOptions options;
  return run_program(
      argc, argv,
      {.about = "Lists a network's layers, and what a training step would keep in each mode.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
