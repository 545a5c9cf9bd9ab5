// Registration, names, modes and labels. What happens to the tensors is module_state_test.cpp's.

#include "attune/layers/module.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/ops/arithmetic.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/relu.h"
#include "attune/layers/sequential.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

class Scale final : public Module {
 public:
  Scale() {
    register_buffer("count", count_);  // registered first, listed behind the parameter
    register_parameter("factor", factor_);
  }
  Tensor forward(const Tensor& x) override { return multiply(x, factor_); }
  std::string type_name() const override { return "Scale"; }

  using Module::register_buffer;
  using Module::register_parameter;

 private:
  Tensor factor_ = Tensor::full({3}, 2);
  Tensor count_ = Tensor::zeros({}, DType::int64);
};

// A module whose parts the test chooses.
class Host final : public Module {
 public:
  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (const auto& part : parts) y = (*part)(y);
    return y;
  }
  std::string type_name() const override { return "Host"; }

  template <typename M>
  std::shared_ptr<M> part(const std::string& name, std::shared_ptr<M> module) {
    parts.push_back(register_module(name, module));
    return module;
  }
  using Module::clear_registrations;
  using Module::register_conv_bn;
  using Module::register_module;
  using Module::register_parameter;
  using Module::unregister_module;

  std::vector<std::shared_ptr<Module>> parts;
  Tensor own = Tensor::ones({2});
};

std::shared_ptr<ConvBN> small_conv_bn() {
  return std::make_shared<ConvBN>(ConvBNOptions{.in_channels = 2, .out_channels = 2});
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("modes are spelled as their enumerators", "[mode]") {
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
    CHECK(parse_mode(to_string(mode)) == mode);
  }
  CHECK(parse_mode("tune") == Mode::tune);
  CHECK(message_of<Error>([] { parse_mode("Tune"); }) ==
        "mode: 'Tune' is not one of train, eval, tune, deploy");
}

TEST_CASE("names are dotted, and parameters come before buffers and children", "[module]") {
  auto host = std::make_shared<Host>();
  auto inner = host->part("inner", std::make_shared<Host>());
  inner->part("scale", std::make_shared<Scale>());
  host->part("last", std::make_shared<Scale>());
  host->register_parameter("own", host->own);

  CHECK(names(host->state_dict()) ==
        Names{"own", "inner.scale.factor", "inner.scale.count", "last.factor", "last.count"});
  CHECK(names(host->named_parameters()) == Names{"own", "inner.scale.factor", "last.factor"});
  CHECK(names(host->named_buffers()) == Names{"inner.scale.count", "last.count"});
  CHECK(host->parameters().size() == 3);
  CHECK(host->parameter_count() == 8);
  CHECK(host->own_parameter_count() == 2);

  std::vector<std::pair<std::string, std::string>> visited;
  host->for_each_module([&](const std::string& name, Module& module) {
    CHECK(module.path() == name);
    visited.emplace_back(name, module.type_name());
  });
  CHECK(visited ==
        std::vector<std::pair<std::string, std::string>>{
            {"", "Host"}, {"inner", "Host"}, {"inner.scale", "Scale"}, {"last", "Scale"}});
}

TEST_CASE("a ConvBN's tensors are named as those of two layers", "[module]") {
  auto host = std::make_shared<Host>();
  auto stage = host->part("stage", std::make_shared<Host>());
  auto conv = stage->register_conv_bn("downsample.0", "downsample.1", small_conv_bn());
  CHECK(names(host->state_dict()) ==
        Names{"stage.downsample.0.weight", "stage.downsample.1.weight", "stage.downsample.1.bias",
              "stage.downsample.1.running_mean", "stage.downsample.1.running_var",
              "stage.downsample.1.num_batches_tracked"});
  CHECK(conv->path() == "stage.downsample.0");
  CHECK(find(host->state_dict(), "stage.downsample.1.weight").shared_storage() ==
        conv->gamma().shared_storage());

  host->deploy();
  CHECK(names(host->named_parameters()) ==
        Names{"stage.downsample.0.weight", "stage.downsample.0.bias"});
  for (const std::string& name : names(host->named_buffers())) {
    CHECK(name.starts_with("stage.downsample.0.folded_bn."));
  }
}

TEST_CASE("a name may be given once", "[module]") {
  auto host = std::make_shared<Host>();
  host->register_module("conv1", std::make_shared<ReLU>());
  host->register_conv_bn("layer.0", "layer.1", small_conv_bn());
  const auto relu = [] { return std::make_shared<ReLU>(); };
  REQUIRE_THROWS_AS(host->register_module("conv1", relu()), Error);
  REQUIRE_THROWS_AS(host->register_module("conv1.relu", relu()), Error);  // conv1's to give
  REQUIRE_THROWS_AS(host->register_module("layer", relu()), Error);
  REQUIRE_THROWS_AS(host->register_module("layer.1", relu()), Error);
  REQUIRE_THROWS_AS(host->register_module("", relu()), Error);
  REQUIRE_THROWS_AS(host->register_parameter("layer.1", host->own), Error);
  REQUIRE_THROWS_AS(host->register_conv_bn("conv2", "conv1", small_conv_bn()), Error);
  REQUIRE_THROWS_AS(host->register_conv_bn("conv2", "conv2", small_conv_bn()), Error);
  CHECK(message_of<Error>([&] { host->register_parameter("conv1", host->own); }) ==
        "register: 'conv1' and 'conv1' in one Host");
  // Names that merely begin alike are different.
  host->register_module("conv10", relu());
  host->register_parameter("conv", host->own);
  CHECK(names(host->named_parameters()).front() == "conv");
}

TEST_CASE("what cannot be registered is refused", "[module]") {
  auto host = std::make_shared<Host>();
  Tensor undefined;
  REQUIRE_THROWS_AS(host->register_parameter("weight", undefined), Error);
  REQUIRE_THROWS_AS(host->register_module("part", std::shared_ptr<ReLU>()), Error);
  auto relu = host->register_module("relu", std::make_shared<ReLU>());
  CHECK(message_of<Error>([&] { host->register_module("again", relu); }) ==
        "register: the ReLU given as 'again' is 'relu' of a Host already");
  // Only a layer whose names are conv.* and bn.* has two names.
  REQUIRE_THROWS_AS(host->register_conv_bn("a", "b", std::make_shared<Scale>()), Error);
  REQUIRE_THROWS_AS(host->unregister_module("a"), Error);
  CHECK(host->state_dict().empty());

  host->unregister_module("relu");
  CHECK(relu->path().empty());
  host->register_module("again", relu);
  CHECK(relu->path() == "again");
}

TEST_CASE("a child may outlive its parent", "[module]") {
  auto child = std::make_shared<ReLU>();
  {
    auto host = std::make_shared<Host>();
    host->register_module("child", child);
    CHECK(child->path() == "child");
  }
  CHECK(child->path().empty());
  std::make_shared<Host>()->register_module("other", child);
}

TEST_CASE("registrations can be replaced", "[module]") {
  auto host = std::make_shared<Host>();
  host->register_parameter("before", host->own);
  host->part("scale", std::make_shared<Scale>());
  host->clear_registrations();
  CHECK(names(host->named_parameters()) == Names{"scale.factor"});
  host->register_parameter("after", host->own, false);
  CHECK(names(host->named_parameters()) == Names{"after", "scale.factor"});
  CHECK(!host->own.requires_grad());
}

TEST_CASE("registration declares the purpose of memory", "[module]") {
  const auto before = memory_stats(test_device())[MemoryPurpose::parameter].live;
  const Scale scale;
  CHECK(memory_stats(test_device())[MemoryPurpose::parameter].live - before == 3 * 4 + 8);
}

TEST_CASE("operations carry the path of the module that recorded them", "[module]") {
  auto host = std::make_shared<Host>();
  auto inner = host->part("inner", std::make_shared<Host>());
  inner->part("scale", std::make_shared<Scale>());
  auto last = host->part("last", std::make_shared<Scale>());

  const Tensor y = (*host)(Tensor::ones({3}));
  const Node& outer = *y.autograd_meta()->producer;
  CHECK(outer.label() == "last");
  CHECK(outer.inputs()[0]->producer->label() == "inner.scale");
  // Alone, a part is the root of its own paths; and the label ends with the call.
  const Tensor z = (*std::make_shared<Scale>())(Tensor::ones({3}));
  CHECK(z.autograd_meta()->producer->label().empty());
  CHECK(multiply(z, z).autograd_meta()->producer->label().empty());
}

TEST_CASE("observers see each call once, innermost first", "[module]") {
  auto host = std::make_shared<Host>();
  host->part("a", std::make_shared<Scale>());
  host->part("b", std::make_shared<Scale>());
  std::vector<std::string> outer_saw;
  std::vector<std::string> inner_saw;
  const CallObserver outer(
      [&](Module& module, const Tensor&, const Tensor&) { outer_saw.push_back(module.path()); });
  {
    const CallObserver inner([&](Module& module, const Tensor& x, const Tensor& y) {
      inner_saw.push_back(module.path());
      if (module.path() == "b") CHECK(y.to_vector<float>()[0] == 2 * x.to_vector<float>()[0]);
    });
    (*host)(Tensor::ones({3}));
  }
  (*host)(Tensor::ones({3}));
  CHECK(inner_saw == Names{"a", "b", ""});
  CHECK(outer_saw == Names{"a", "b", "", "a", "b", ""});
}

TEST_CASE("set_mode reaches every layer that is not pinned", "[module][mode]") {
  auto host = std::make_shared<Host>();
  auto inner = host->part("inner", std::make_shared<Sequential>());
  auto bn = inner->add<BatchNorm2d>({.channels = 2});
  auto pinned_bn = inner->add<BatchNorm2d>({.channels = 2});
  auto conv = inner->add(small_conv_bn());
  auto pinned_conv = inner->add(small_conv_bn());
  CHECK(bn->mode() == Mode::train);
  pinned_bn->pin_mode(Mode::eval);
  pinned_conv->pin_mode(Mode::eval);

  host->set_mode(Mode::tune);
  CHECK(bn->mode() == Mode::tune);
  CHECK(conv->mode() == Mode::tune);
  CHECK(pinned_bn->mode() == Mode::eval);
  CHECK(pinned_conv->mode() == Mode::eval);
  pinned_bn->unpin_mode();
  CHECK(pinned_bn->mode() == Mode::eval);
  host->set_mode(Mode::train);
  CHECK(pinned_bn->mode() == Mode::train);
  CHECK(pinned_conv->mode() == Mode::eval);
}

TEST_CASE("a mode that one layer refuses changes none", "[module][mode]") {
  auto host = std::make_shared<Host>();
  auto bn = host->part("bn", std::make_shared<BatchNorm2d>(BatchNorm2d::Options{.channels = 2}));
  auto first = host->part("first", small_conv_bn());
  auto second = host->part("second", small_conv_bn());
  second->deploy();
  const std::string message = message_of<Error>([&] { host->set_mode(Mode::deploy); });
  CHECK(message.find("'first'") != std::string::npos);
  CHECK(bn->mode() == Mode::train);
  CHECK(second->mode() == Mode::deploy);
  REQUIRE_THROWS_AS(host->set_mode(Mode::eval), Error);  // second is folded
  CHECK(first->mode() == Mode::train);
}

TEST_CASE("deploy and undeploy reach every layer", "[module][mode]") {
  auto host = std::make_shared<Host>();
  auto conv = host->part("inner", std::make_shared<Sequential>())->add(small_conv_bn());
  auto bn = host->part("bn", std::make_shared<BatchNorm2d>(BatchNorm2d::Options{.channels = 2}));
  const auto before = names(host->state_dict());
  host->deploy();
  CHECK(conv->mode() == Mode::deploy);
  CHECK(bn->mode() == Mode::deploy);
  CHECK(names(host->state_dict()) != before);
  host->undeploy();
  CHECK(conv->mode() == Mode::eval);
  CHECK(bn->mode() == Mode::eval);
  CHECK(names(host->state_dict()) == before);
}

TEST_CASE("train() is about dropout, set_mode() about normalisation", "[module][mode]") {
  auto host = std::make_shared<Host>();
  auto conv = host->part("inner", std::make_shared<Sequential>())->add(small_conv_bn());
  CHECK(conv->training());
  host->train(false);
  CHECK(!conv->training());
  CHECK(conv->mode() == Mode::train);
  host->set_mode(Mode::tune);
  host->train();
  CHECK(conv->training());
  CHECK(conv->mode() == Mode::tune);
  for (const Tensor& parameter : host->parameters()) CHECK(parameter.requires_grad());
}
