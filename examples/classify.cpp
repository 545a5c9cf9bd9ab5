// Names what is in pictures.

#include <attune/core/autograd.h>
#include <attune/core/error.h>
#include <attune/core/random.h>
#include <attune/core/tensor.h>
#include <attune/data/image.h>
#include <attune/version.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "support/normalization.h"
#include "support/output_files.h"
#include "support/saved_network.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  classify --init runs/flowers/weights.safetensors tulip.jpg rose.png
  classify --net resnet50 --init resnet50.safetensors --classes imagenet_classes.txt cat.jpg)";

struct ClassifyOptions {
  ModelOptions model;
  std::vector<std::string> images;
  std::filesystem::path classes;
  std::optional<ChannelStatistics> normalize;
  std::int64_t top = 5;
};

void add_options(CLI::App& app, ClassifyOptions& options) {
  add_arguments(app, "IMAGE", options.images, "PNG, JPEG, BMP, GIF, PPM or PGM files");
  add_model_options(app, options.model, Init::required);
  add_model_device_options(app, options.model);
  add_path_option(app, "--classes", options.classes,
                  "Names of the classes, one a line, instead of those in the file of weights",
                  "Images");
  add_normalize_option(app, options.normalize);
  add_count_option(app, "--top", options.top, "How many classes to list", 1);
}

/// A line a class; a last line without end counts, empty ones at the end do not.
std::vector<std::string> read_classes(const std::filesystem::path& path, std::int64_t wanted) {
  std::ifstream file(path);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    names.push_back(line);
  }
  if (!file.eof()) throw Error(fmt::format("cannot read {}", path.string()));
  while (!names.empty() && names.back().empty()) names.pop_back();
  if (names.size() != static_cast<std::size_t>(wanted)) {
    throw Error(fmt::format("{}: has {} names, the network {} classes", path.string(), names.size(),
                            wanted));
  }
  return names;
}

/// Probabilities of the classes: softmax of the logits.
std::vector<double> classify(Module& net, const std::string& path, const Compose& transform) {
  Image image;
  to_float(read_image(path), image);
  try {
    RandomStream unused(0);  // nothing here is random
    transform.apply(image, unused);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path, error.what()));
  }
  const NoGradGuard no_grad;
  const Tensor x =
      Tensor::from(image.pixels, {1, image.size.height, image.size.width, image.size.channels});
  std::vector<double> values = net(x).to_vector<double>();
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (double& value : values) sum += value = std::exp(value - largest);
  if (!std::isfinite(sum)) {
    throw Error(fmt::format("{}: the network's output is not finite", path));
  }
  for (double& value : values) value /= sum;
  return values;
}

int run(const ClassifyOptions& options) {
  if (!options.model.json.empty()) check_writable(options.model.json);
  const DeviceScope device(options.model.device);
  SavedNetwork network = open_network(options.model);
  if (!options.classes.empty()) {
    network.classes = read_classes(options.classes, network.net->classes());
  }
  const ChannelStatistics usual =
      network.stem == Stem::imagenet ? imagenet_statistics() : cifar10_statistics();
  const ChannelStatistics statistics =
      options.normalize.value_or(network.normalize.value_or(usual));
  const Compose transform = picture_transform(network.side, statistics);

  nlohmann::json results = nlohmann::json::array();
  for (const std::string& path : options.images) {
    const std::vector<double> probabilities = classify(*network.net, path, transform);
    std::vector<std::size_t> order(probabilities.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return probabilities[a] > probabilities[b];
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(options.top)));

    std::cout << path << "\n";
    nlohmann::json top = nlohmann::json::array();
    for (const std::size_t index : order) {
      const std::string name = class_name(network.classes, static_cast<std::int64_t>(index));
      std::cout << fmt::format("  {:>7}  {}\n", percent(probabilities[index]), name);
      top.push_back({{"class", name}, {"index", index}, {"probability", probabilities[index]}});
    }
    std::cout << std::flush;
    results.push_back({{"image", path}, {"top", top}});
  }
  if (!options.model.json.empty()) {
    const nlohmann::json json{{"settings",
                               {{"version", version},
                                {"net", network.name},
                                {"init", options.model.init.string()},
                                {"device", to_string(options.model.device.device)},
                                {"precision", to_string(options.model.device.precision)},
                                {"normalize", to_string(statistics)}}},
                              {"images", results}};
    write_json(options.model.json, json);
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  ClassifyOptions options;
  return run_program(
      argc, argv,
      {.about = "Names what is in pictures: the likeliest classes, with their probabilities.",
       .examples = kExamples},
      [&](CLI::App& app) { add_options(app, options); }, [&] { return run(options); });
}
