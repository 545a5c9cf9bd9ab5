// RepVGG's way into Deploy and back.

#include "attune/layers/models/repvgg.h"

#include <memory>
#include <string>
#include <vector>

#include "attune/core/ops/ops.h"
#include "attune/optim/sgd.h"
#include "tests/layers/layers_test_util.h"
#include "tests/set_element.h"

using namespace attune;
using namespace attune::test;

namespace {

struct Setup {
  Generator generator{3, 0};
  RepVgg net{{.depths = {2, 1}, .channels = {6, 8}, .classes = 5}, generator};
  Tensor x;

  explicit Setup(DType dtype = DType::float64) {
    net.to(dtype);
    pretend_trained(net, generator);
    x = random_normal({2, 12, 12, 3}, 0, 1, generator, dtype);
    net.set_mode(Mode::eval);
  }
};

std::vector<std::string> parameter_names(const Module& module) {
  return names(module.named_parameters());
}

std::vector<Tensor> copies(const NamedTensors& tensors) {
  std::vector<Tensor> copies;
  for (const auto& [name, tensor] : tensors) copies.push_back(tensor.clone());
  return copies;
}

}  // namespace

TEST_CASE("deploy leaves one convolution of each block", "[repvgg]") {
  Setup s;
  const Tensor expected = s.net(s.x);
  const std::vector<Tensor> old = s.net.parameters();
  s.net.deploy();
  CHECK(parameter_names(s.net) ==
        std::vector<std::string>{"stage0.rbr_reparam.weight", "stage0.rbr_reparam.bias",
                                 "stage1.0.rbr_reparam.weight", "stage1.0.rbr_reparam.bias",
                                 "stage1.1.rbr_reparam.weight", "stage1.1.rbr_reparam.bias",
                                 "stage2.0.rbr_reparam.weight", "stage2.0.rbr_reparam.bias",
                                 "linear.weight", "linear.bias"});
  CHECK(s.net.parameter_count() ==
        9 * (3 * 6 + 6 * 6 + 6 * 6 + 6 * 8) + 6 + 6 + 6 + 8 + 5 * (8 + 1));
  CHECK(relative_error(s.net(s.x), expected) <= 1e-12);
  int live = 0;
  for (const Tensor& parameter : old) live += parameter.retired() ? 0 : 1;
  CHECK(live == 2 + 2);  // the head's; and gamma and beta of the one identity, which does not fold
  REQUIRE_THROWS_AS(s.net.set_mode(Mode::eval), Error);
  REQUIRE_THROWS_AS(s.net.deploy(), Error);
}

TEST_CASE("undeploy restores the branches", "[repvgg]") {
  for (const DType dtype : {DType::float64, DType::float32}) {
    Setup s(dtype);
    const auto before_names = names(s.net.state_dict());
    const std::vector<Tensor> before = copies(s.net.state_dict());
    const Tensor expected = s.net(s.x);
    s.net.deploy();
    s.net.undeploy();
    CHECK(names(s.net.state_dict()) == before_names);
    const NamedTensors after = s.net.state_dict();
    for (std::size_t i = 0; i < before.size(); ++i) {
      INFO(before_names[i]);
      if (after[i].second.dtype() == DType::int64) continue;
      CHECK(relative_error(after[i].second, before[i]) <=
            (dtype == DType::float64 ? 1e-12 : 1e-4));  // w = (w' - others) / s
    }
    CHECK(relative_error(s.net(s.x), expected) <= (dtype == DType::float64 ? 1e-12 : 1e-5));
    for (const Tensor& parameter : s.net.parameters()) {
      CHECK(parameter.requires_grad());
      CHECK(!parameter.retired());
    }
    for (const Mode mode : {Mode::tune, Mode::train}) s.net.set_mode(mode);
  }
}

TEST_CASE("what is learned in Deploy survives undeploy", "[repvgg]") {
  Setup s;
  s.net.deploy();
  Sgd optimizer(s.net.parameters(), {.lr = 0.05});
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_grad();
    const Tensor y = s.net(s.x);
    mean(y * y).backward();
    optimizer.step();
  }
  const Tensor learned = s.net(s.x);
  s.net.undeploy();
  CHECK(relative_error(s.net(s.x), learned) <= 1e-11);
  REQUIRE_THROWS_AS(optimizer.step(), Error);
  s.net.set_mode(Mode::tune);
  CHECK(relative_error(s.net(s.x), learned) <= 1e-11);
}

TEST_CASE("a deployed state can be loaded and undeployed", "[repvgg]") {
  Setup s;
  const Tensor expected = s.net(s.x);
  s.net.deploy();
  const NamedTensors state = s.net.state_dict();
  Setup other;
  for (Tensor& parameter : other.net.parameters()) {
    const NoGradGuard no_grad;
    parameter.fill_(0.25);
  }
  other.net.deploy();
  other.net.load_state_dict(state);
  CHECK(relative_error(other.net(s.x), expected) <= 1e-12);
  other.net.to(DType::float32);  // the buffers of the branches, too
  other.net.to(DType::float64);
  other.net.undeploy();
  CHECK(relative_error(other.net(s.x), expected) <= 1e-5);
  for (const Tensor& parameter : other.net.parameters()) CHECK(parameter.requires_grad());
}

TEST_CASE("a filter of negligible scale comes back", "[repvgg]") {
  for (const double scale : {0.0, 1e-9}) {
    INFO("gamma " << scale);
    Setup s;
    const Tensor before = find(s.net.state_dict(), "stage1.1.rbr_dense.conv.weight").clone();
    const Tensor gamma = find(s.net.state_dict(), "stage1.1.rbr_dense.bn.weight");
    set_element(gamma, 2, scale);
    const Tensor expected = s.net(s.x);
    s.net.deploy();
    s.net.undeploy();
    CHECK(relative_error(s.net(s.x), expected) <= 1e-12);
    CHECK(relative_error(find(s.net.state_dict(), "stage1.1.rbr_dense.conv.weight"), before) <=
          1e-12);
    CHECK(find(s.net.state_dict(), "stage1.1.rbr_dense.bn.weight").to_vector<double>()[2] == scale);
  }
}

TEST_CASE("RepVGG refuses impossible options", "[repvgg]") {
  REQUIRE_THROWS_AS(RepVgg({.depths = {}, .channels = {}}), Error);
  REQUIRE_THROWS_AS(RepVgg({.depths = {1}, .channels = {8, 8}}), Error);
  CHECK(message_of<Error>([] { RepVgg({.depths = {0}, .channels = {8}}); }) ==
        "RepVgg: stages of [0] blocks of [8] channels: must be as many, > 0");
}
