// What a module does with its tensors: state dictionaries, freezing, moving to a dtype or device.

#include <memory>
#include <string>
#include <vector>

#include "attune/core/ops/reduce.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/linear.h"
#include "attune/layers/pooling.h"
#include "attune/layers/relu.h"
#include "attune/layers/sequential.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

// ConvBN "0" and "1", ReLU "2", GlobalAvgPool "3", Linear "4".
std::shared_ptr<Sequential> small_net(std::uint64_t seed) {
  Generator generator{seed, 0};
  auto net = std::make_shared<Sequential>();
  net->add<ConvBN>(ConvBNOptions{.in_channels = 3, .out_channels = 4}, generator);
  net->add<ReLU>();
  net->add<GlobalAvgPool>();
  net->add<Linear>(Linear::Options{.in_features = 4, .out_features = 2}, generator);
  pretend_trained(*net, generator);
  return net;
}

Tensor small_input(DType dtype = DType::float32) {
  Generator generator{99, 0};
  return random_normal({2, 5, 5, 3}, 0, 1, generator, dtype);
}

NamedTensors without(NamedTensors state, const std::string& name) {
  std::erase_if(state, [&](const auto& entry) { return entry.first == name; });
  return state;
}

NamedTensors copy(const NamedTensors& state) {
  NamedTensors copies;
  for (const auto& [name, tensor] : state) copies.emplace_back(name, tensor.clone());
  return copies;
}

}  // namespace

TEST_CASE("a state dictionary carries a network's function", "[state]") {
  auto first = small_net(1);
  auto second = small_net(2);
  first->set_mode(Mode::eval);
  second->set_mode(Mode::eval);
  const Tensor x = small_input();
  CHECK((*first)(x).to_vector<float>() != (*second)(x).to_vector<float>());
  CHECK(second->load_state_dict(first->state_dict()).complete());
  CHECK((*first)(x).to_vector<float>() == (*second)(x).to_vector<float>());
  // A copy, not a share; and the parameters are the ones they were.
  CHECK(first->parameters()[0].shared_storage() != second->parameters()[0].shared_storage());
  for (const Tensor& parameter : second->parameters()) CHECK(parameter.requires_grad());
}

TEST_CASE("a state dictionary shares the module's elements", "[state]") {
  auto net = small_net(1);
  NamedTensors state = net->state_dict();
  for (const auto& [name, tensor] : state) CHECK(!tensor.requires_grad());
  find(state, "4.bias").fill_(7);
  CHECK(net->parameters().back().to_vector<float>() == std::vector<float>{7, 7});
}

TEST_CASE("a strict load lists every fault and changes nothing", "[state]") {
  auto net = small_net(1);
  const auto before = all_values(net->state_dict());
  NamedTensors state = without(copy(small_net(2)->state_dict()), "0.weight");
  for (auto& [name, tensor] : state) {
    if (name == "4.weight") tensor = Tensor::zeros({10, 4});
  }
  state.emplace_back("extra", Tensor::zeros({1}));
  CHECK(message_of<Error>([&] { net->load_state_dict(state); }) ==
        "load_state_dict: missing: 0.weight; unexpected: extra; of another shape: 4.weight is "
        "[10, 4], not [2, 4]");
  CHECK(all_values(net->state_dict()) == before);
}

TEST_CASE("a report of many faults is short as text", "[state]") {
  LoadReport report;
  for (const char name : {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}) {
    report.missing.emplace_back(1, name);
    report.mismatched.push_back({std::string(1, name), {1}, {2}});
  }
  report.unexpected = report.missing;
  CHECK(to_string(report).find("missing: a, b, c, d, e, f, g, h; unexpected: a,") == 0);
  for (const char* name : {"i", "j"}) report.missing.emplace_back(name);
  report.mismatched.push_back({"i", {1}, {2}});
  CHECK(to_string(report).find("missing: a, b, c, d, e, f, g, h and 2 more; unexpected: a,") == 0);
  CHECK(to_string(report).ends_with("h is [2], not [1] and 1 more"));
}

TEST_CASE("a load that is not strict takes what fits, and reports the rest", "[state]") {
  auto net = small_net(1);
  auto other = small_net(2);
  const auto own_filter = find(net->state_dict(), "0.weight").to_vector<float>();
  NamedTensors state = without(copy(other->state_dict()), "0.weight");
  for (auto& [name, tensor] : state) {
    if (name == "4.weight") tensor = Tensor::zeros({10, 4});
  }
  state.emplace_back("extra", Tensor::zeros({1}));
  const LoadReport report = net->load_state_dict(state, false);
  CHECK(!report.complete());
  CHECK(report.missing == std::vector<std::string>{"0.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"extra"});
  REQUIRE(report.mismatched.size() == 1);
  CHECK(report.mismatched[0].name == "4.weight");
  CHECK(report.mismatched[0].wanted == Shape{2, 4});
  CHECK(report.mismatched[0].found == Shape{10, 4});
  CHECK(find(net->state_dict(), "0.weight").to_vector<float>() == own_filter);
  CHECK(find(net->state_dict(), "1.running_var").to_vector<float>() ==
        find(other->state_dict(), "1.running_var").to_vector<float>());
}

TEST_CASE("num_batches_tracked may be missing, other buffers may not", "[state]") {
  auto net = small_net(1);
  const NamedTensors state = copy(net->state_dict());
  CHECK(net->load_state_dict(without(state, "1.num_batches_tracked")).complete());
  BatchNorm2d bn({.channels = 2});
  CHECK(bn.load_state_dict(without(copy(bn.state_dict()), "num_batches_tracked")).complete());
  REQUIRE_THROWS_AS(net->load_state_dict(without(state, "1.running_mean")), Error);
}

TEST_CASE("a load converts dtypes", "[state]") {
  auto single = small_net(1);
  auto precise = small_net(2);
  precise->to(DType::float64);
  precise->load_state_dict(single->state_dict());
  CHECK(precise->parameters()[0].dtype() == DType::float64);
  CHECK(all_values(precise->state_dict()) == all_values(single->state_dict()));
  single->load_state_dict(small_net(3)->state_dict());
  single->load_state_dict(precise->state_dict());
  CHECK(all_values(precise->state_dict()) == all_values(single->state_dict()));
}

TEST_CASE("a dictionary that cannot be meant is refused, strict or not", "[state]") {
  auto net = small_net(1);
  const auto before = all_values(net->state_dict());
  NamedTensors twice = copy(small_net(2)->state_dict());
  twice.emplace_back("4.bias", Tensor::zeros({2}));
  NamedTensors undefined = copy(small_net(2)->state_dict());
  undefined.back().second = {};
  NamedTensors meta = copy(small_net(2)->state_dict());
  meta.back().second = meta.back().second.to(Device::meta);
  for (const bool strict : {true, false}) {
    REQUIRE_THROWS_AS(net->load_state_dict(twice, strict), Error);
    REQUIRE_THROWS_AS(net->load_state_dict(undefined, strict), Error);
    REQUIRE_THROWS_AS(net->load_state_dict(meta, strict), Error);
  }
  CHECK(all_values(net->state_dict()) == before);
}

TEST_CASE("a deployed network's state loads into a deployed network", "[state]") {
  auto net = small_net(1);
  net->deploy();
  auto other = small_net(2);
  REQUIRE_THROWS_AS(other->load_state_dict(net->state_dict()), Error);
  other->deploy();
  other->load_state_dict(net->state_dict());
  const Tensor x = small_input();
  CHECK((*net)(x).to_vector<float>() == (*other)(x).to_vector<float>());
  net->undeploy();
  other->undeploy();
  CHECK((*net)(x).to_vector<float>() == (*other)(x).to_vector<float>());
}

TEST_CASE("frozen parameters get no gradient, and others still do", "[state]") {
  auto net = small_net(1);
  const auto gradients = [&] {
    net->zero_grad();
    sum((*net)(small_input())).backward();
    std::vector<bool> defined;
    for (const Tensor& parameter : net->parameters()) defined.push_back(parameter.grad().defined());
    return defined;
  };
  CHECK(gradients() == std::vector<bool>{true, true, true, true, true});
  net->freeze();
  for (const Tensor& parameter : net->parameters()) CHECK(!parameter.grad().defined());
  (*net)[3]->unfreeze();
  CHECK(gradients() == std::vector<bool>{false, false, false, true, true});
  net->unfreeze();
  CHECK(gradients() == std::vector<bool>{true, true, true, true, true});
  net->zero_grad();
  for (const Tensor& parameter : net->parameters()) CHECK(!parameter.grad().defined());
}

TEST_CASE("a change of dtype replaces tensors and retires the parameters", "[state]") {
  auto net = small_net(1);
  (*net)[3]->freeze();
  const std::vector<Tensor> old = net->parameters();
  const auto values = all_values(net->state_dict());
  net->to(DType::float64);

  const std::vector<Tensor> now = net->parameters();
  REQUIRE(now.size() == old.size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    CHECK(old[i].retired());
    CHECK(!now[i].retired());
    CHECK(now[i].dtype() == DType::float64);
    CHECK(now[i].requires_grad() == (i < 3));
    CHECK(now[i].storage().purpose() == MemoryPurpose::parameter);
  }
  CHECK(all_values(net->state_dict()) == values);
  CHECK(find(net->state_dict(), "1.running_mean").dtype() == DType::float64);
  CHECK(find(net->state_dict(), "1.num_batches_tracked").dtype() == DType::int64);
  CHECK((*net)(small_input(DType::float64)).dtype() == DType::float64);
  REQUIRE_THROWS_AS(net->to(DType::int64), Error);
}

TEST_CASE("a move that changes nothing keeps every handle", "[state]") {
  auto net = small_net(1);
  const std::vector<Tensor> old = net->parameters();
  net->to(DType::float32);
  net->to(test_device());
  for (const Tensor& parameter : old) CHECK(!parameter.retired());
  CHECK(net->parameters()[0].autograd_meta() == old[0].autograd_meta());
}

TEST_CASE("a network on meta computes shapes alone", "[state]") {
  auto net = small_net(1);
  const std::vector<Tensor> old = net->parameters();
  net->to(Device::meta);
  for (const Tensor& parameter : old) CHECK(parameter.retired());
  const Tensor y = (*net)(Tensor::empty({64, 224, 224, 3}, DType::float32, Device::meta));
  CHECK(y.shape() == Shape{64, 2});
  CHECK(y.device() == Device::meta);
  // There is no way back: the elements are gone. Nothing must have changed by trying.
  REQUIRE_THROWS_AS(net->to(test_device()), Error);
  for (const Tensor& parameter : net->parameters()) CHECK(parameter.device() == Device::meta);
}
