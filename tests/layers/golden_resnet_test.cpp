// Small residual networks against PyTorch, in all four modes: output, loss, every gradient.

#include <memory>
#include <string>

#include "attune/layers/models/resnet.h"
#include "tests/layers/golden_network.h"

namespace attune::test {
namespace {

std::shared_ptr<ResNet> build_network(const Json& config) {
  const Json& widths = config.at("widths");
  return std::make_shared<ResNet>(
      ResNetOptions{.block = config.at("bottleneck") ? ResNetBlock::bottleneck : ResNetBlock::basic,
                    .depths = std::vector<std::int64_t>(widths.size(), 1),
                    .width = widths.at(0),
                    .groups = config.value("groups", 1),
                    .group_width = config.value("group_width", 64),
                    .stem = config.at("imagenet_stem") ? ResNetStem::imagenet : ResNetStem::cifar,
                    .classes = config.at("classes")});
}

}  // namespace

TEST_CASE("Residual networks agree with PyTorch in every mode") {
  for (const std::string file : {"resnet_cifar.json", "resnet_bottleneck.json", "resnext.json"}) {
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
