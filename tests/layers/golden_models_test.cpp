// Small networks of the other families against PyTorch, in all four modes: output, loss, every
// gradient, every running statistic.

#include <memory>
#include <string>
#include <vector>

#include "attune/layers/models/densenet.h"
#include "attune/layers/models/mobilenet.h"
#include "attune/layers/models/repvgg.h"
#include "attune/layers/models/vgg.h"
#include "tests/layers/golden_network.h"

namespace attune::test {
namespace {

using Numbers = std::vector<std::int64_t>;

std::shared_ptr<Module> build_vgg(const Json& config) {
  return std::make_shared<Vgg>(VggOptions{.stages = config.at("stages").get<std::vector<Numbers>>(),
                                          .grid = config.at("grid"),
                                          .hidden = config.at("hidden"),
                                          .dropout = 0,
                                          .classes = config.at("classes")});
}

std::shared_ptr<Module> build_mobilenet(const Json& config) {
  std::vector<MobileNetV2Options::Stage> stages;
  for (const Json& stage : config.at("stages")) {
    stages.push_back({stage.at(0), stage.at(1), stage.at(2), stage.at(3)});
  }
  return std::make_shared<MobileNetV2>(
      MobileNetV2Options{.stages = stages,
                         .first_channels = config.at("first_channels"),
                         .last_channels = config.at("last_channels"),
                         .dropout = 0,
                         .classes = config.at("classes")});
}

std::shared_ptr<Module> build_repvgg(const Json& config) {
  return std::make_shared<RepVgg>(RepVggOptions{.depths = config.at("depths").get<Numbers>(),
                                                .channels = config.at("channels").get<Numbers>(),
                                                .classes = config.at("classes")});
}

std::shared_ptr<Module> build_densenet(const Json& config) {
  return std::make_shared<DenseNet>(
      DenseNetOptions{.depths = config.at("depths").get<Numbers>(),
                      .growth = config.at("growth"),
                      .bottleneck = config.at("bottleneck"),
                      .first_channels = config.at("first_channels"),
                      .stem = config.at("imagenet_stem") ? Stem::imagenet : Stem::cifar,
                      .classes = config.at("classes")});
}

std::shared_ptr<Module> build_network(const Json& config) {
  const std::string family = config.at("family");
  if (family == "vgg") return build_vgg(config);
  if (family == "mobilenet") return build_mobilenet(config);
  if (family == "repvgg") return build_repvgg(config);
  REQUIRE(family == "densenet");
  return build_densenet(config);
}

}  // namespace

TEST_CASE("Networks of other families agree with PyTorch in every mode") {
  for (const std::string file :
       {"vgg.json", "mobilenet.json", "repvgg.json", "densenet.json", "densenet_cifar.json"}) {
    const Json golden = read_golden(file);
    for (const DType dtype : {DType::float64, DType::float32}) {
      for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
        INFO(file << ", " << to_string(mode) << ", " << to_string(dtype));
        check_golden_mode(*build_network(golden.at("config")), golden, mode, dtype);
      }
    }
  }
}

}  // namespace attune::test
