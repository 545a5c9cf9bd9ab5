#include "attune/layers/fuse_conv_bn.h"

#include <cmath>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/random.h"
#include "attune/layers/relu.h"
#include "attune/layers/sequential.h"
#include "tests/catch.h"

using namespace attune;

namespace {

// Convolutions of both kinds, a pair nested in a Sequential of its own, and a normalisation that
// has no convolution before it.
std::shared_ptr<Sequential> network() {
  Generator generator{1, 0};
  auto inner = std::make_shared<Sequential>();
  inner->add<ConvTranspose2d>(
      ConvTranspose2d::Options{.in_channels = 6, .out_channels = 4, .groups = 2}, generator);
  inner->add<BatchNorm2d>(BatchNorm2d::Options{.channels = 4});
  auto net = std::make_shared<Sequential>();
  net->add<Conv2d>(Conv2d::Options{.in_channels = 3, .out_channels = 6}, generator);
  net->add<BatchNorm2d>(BatchNorm2d::Options{.channels = 6});
  net->add<ReLU>();
  net->add<BatchNorm2d>(BatchNorm2d::Options{.channels = 6});
  net->add(inner);
  NoGradGuard no_grad;
  for (auto& [name, tensor] : net->state_dict()) {
    if (!is_floating(tensor.dtype())) continue;
    const bool variance = name.find("running_var") != std::string::npos;
    tensor.copy_(random_uniform(tensor.shape(), variance ? 0.5 : -1, 1.5, generator));
  }
  return net;
}

}  // namespace

TEST_CASE("fuse_conv_bn() finds the pairs and keeps function, names and parameters",
          "[fuse_conv_bn]") {
  auto net = network();
  Generator generator{2, 0};
  const Tensor x = random_normal({2, 6, 6, 3}, 0, 1, generator);
  net->set_mode(Mode::eval);
  const auto expected = (*net)(x).to_vector<double>();
  const NamedTensors before = net->state_dict();

  CHECK(fuse_conv_bn(*net) == 2);
  const NamedTensors after = net->state_dict();
  REQUIRE(before.size() == after.size());
  for (const auto& [name, tensor] : before) {
    INFO(name);
    bool found = false;
    for (const auto& [other, same] : after) {
      if (other == name) found = same.shared_storage() == tensor.shared_storage();
    }
    CHECK(found);
  }
  for (const Mode mode : {Mode::eval, Mode::tune}) {
    net->set_mode(mode);
    const auto actual = (*net)(x).to_vector<double>();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(std::abs(actual[i] - expected[i]) <= 1e-4 * std::abs(expected[i]) + 1e-4);
    }
  }
  CHECK(fuse_conv_bn(*net) == 0);
}

TEST_CASE("fuse_conv_bn() refuses channels that do not fit, and changes nothing",
          "[fuse_conv_bn]") {
  auto net = network();
  net->add<Conv2d>(Conv2d::Options{.in_channels = 4, .out_channels = 5});
  net->add<BatchNorm2d>(BatchNorm2d::Options{.channels = 7});
  const std::size_t size = net->size();
  std::string message;
  try {
    fuse_conv_bn(*net);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(message == "fuse_conv_bn: Conv2d '5' has 5 output channels, but BatchNorm2d '6' 7");
  CHECK(net->size() == size);
  CHECK((*net)[0]->type_name() == "Conv2d");
}

TEST_CASE("a fused pair takes over its normalisation's mode and pin", "[fuse_conv_bn]") {
  const Conv2d conv({.in_channels = 3, .out_channels = 4});
  BatchNorm2d norm({.channels = 4});
  norm.pin_mode(Mode::eval);
  const auto fused = fuse_conv_bn(conv, norm);
  CHECK(fused->mode() == Mode::eval);
  CHECK(fused->pinned());
  CHECK(fused->weight().shared_storage() == conv.weight().shared_storage());
}
