// Two small residual networks against PyTorch, in all four modes: output, loss, every gradient.

#include <memory>
#include <string>

#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/models/resnet.h"
#include "tests/catch.h"
#include "tests/golden.h"

namespace attune::test {
namespace {

std::shared_ptr<ResNet> load_network(const Json& golden, DType dtype) {
  const Json& config = golden.at("config");
  const Json& widths = config.at("widths");
  auto net = std::make_shared<ResNet>(
      ResNetOptions{.block = config.at("bottleneck") ? ResNetBlock::bottleneck : ResNetBlock::basic,
                    .depths = std::vector<std::int64_t>(widths.size(), 1),
                    .width = widths.at(0),
                    .stem = config.at("imagenet_stem") ? ResNetStem::imagenet : ResNetStem::cifar,
                    .classes = config.at("classes")});
  net->to(dtype);
  NamedTensors state;
  for (const auto& [name, stored] : golden.at("state").items()) {
    state.emplace_back(name, golden_tensor(stored, dtype));
  }
  net->load_state_dict(state);
  return net;
}

// Forward and backward in one mode. The golden file stores Eval and Tune once: they are the same
// function, which the script that writes the file has checked.
void check_mode(const Json& golden, Mode mode, DType dtype) {
  const auto net = load_network(golden, dtype);
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
  }
  const std::string stored = mode == Mode::tune ? "eval" : to_string(mode);
  const Json& expected = golden.at("modes").at(stored);
  const double tolerance = golden_tolerance(dtype);

  const Tensor x = golden_leaf(golden.at("tensors"), "x", dtype);
  const Tensor targets = golden_tensor(golden.at("tensors").at("targets")).to(DType::int64);
  const Tensor logits = (*net)(x);
  const Tensor loss = softmax_cross_entropy(logits, targets);
  CHECK(golden_error(logits, expected.at("logits")) <= tolerance);
  CHECK(golden_error(loss, expected.at("loss")) <= tolerance);

  loss.backward();
  CHECK(golden_error(x.grad(), expected.at("grad_x")) <= tolerance);
  std::size_t gradients = 1;  // that of x
  for (const auto& [name, parameter] : net->named_parameters()) {
    INFO(name);
    CHECK(golden_error(parameter.grad(), expected.at("grad_" + name)) <= tolerance);
    ++gradients;
  }
  std::size_t expected_gradients = 0;
  for (const auto& [name, tensor] : expected.items()) {
    expected_gradients += name.starts_with("grad_") ? 1 : 0;
  }
  CHECK(gradients == expected_gradients);

  if (mode == Mode::deploy) return;
  for (const auto& [name, buffer] : net->named_buffers()) {
    INFO(name);
    const Json& after =
        mode == Mode::train ? expected.at("new_" + name) : golden.at("state").at(name);
    CHECK(golden_error(buffer, after) <= tolerance);
  }
}

}  // namespace

TEST_CASE("Residual networks agree with PyTorch in every mode") {
  for (const std::string file : {"resnet_cifar.json", "resnet_bottleneck.json"}) {
    const Json golden = read_golden(file);
    for (const DType dtype : {DType::float64, DType::float32}) {
      for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
        INFO(file << ", " << to_string(mode) << ", " << to_string(dtype));
        check_mode(golden, mode, dtype);
      }
    }
  }
}

}  // namespace attune::test
