// What the ConvBN layer promises: one state dict for three modes, pinned modes, and a Deploy that
// can be left again with the same function.

#include "attune/layers/conv_bn.h"

#include <cmath>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/random.h"
#include "tests/catch.h"
#include "tests/set_element.h"

using namespace attune;

namespace {

struct Variant {
  const char* name;
  ConvBNOptions options;
};

// The variants that folding implementations get wrong.
std::vector<Variant> variants() {
  const ConvBNOptions plain{.in_channels = 4, .out_channels = 6, .padding = {1, 1}};
  std::vector<Variant> all{{"plain", plain}};
  const auto add = [&](const char* name, auto change) {
    ConvBNOptions options = plain;
    change(options);
    all.push_back({name, options});
  };
  add("bias", [](auto& o) { o.bias = true; });
  add("not affine", [](auto& o) { o.affine = false; });
  add("bias, not affine", [](auto& o) { o.bias = true, o.affine = false; });
  add("groups", [](auto& o) { o.groups = 2; });
  add("depthwise", [](auto& o) { o.out_channels = 4, o.groups = 4; });
  add("dilation and stride", [](auto& o) { o.dilation = {2, 1}, o.stride = {1, 2}; });
  add("1x1", [](auto& o) { o.kernel = {1, 1}, o.padding = {0, 0}; });
  add("transposed", [](auto& o) { o.transposed = true, o.stride = {2, 2}; });
  add("transposed with groups", [](auto& o) {
    o.transposed = true, o.groups = 2, o.bias = true, o.stride = {2, 2};
    o.output_padding = {1, 0};
  });
  return all;
}

// A layer as after training: no vector is trivial, one gamma is zero and one is negative, one
// variance is tiny.
std::shared_ptr<ConvBN> trained_layer(const ConvBNOptions& options, DType dtype) {
  Generator generator{21, 0};
  auto layer = std::make_shared<ConvBN>(options, generator);
  layer->to(dtype);
  NoGradGuard no_grad;
  for (auto& [name, tensor] : layer->state_dict()) {
    if (!is_floating(tensor.dtype()) || name == "conv.weight") continue;
    std::vector<double> values =
        random_normal(tensor.shape(), 0.3, 1, generator, dtype).to_vector<double>();
    if (name == "bn.running_var") {
      for (double& value : values) value = value * value + 0.1;
      values.at(2) = 1e-7;
    }
    if (name == "bn.weight") {
      values.at(0) = 0;
      values.at(1) = -0.7;
    }
    tensor.copy_(Tensor::from(values, tensor.shape()));
  }
  return layer;
}

double relative_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<double>();
  const auto y = b.to_vector<double>();
  REQUIRE(x.size() == y.size());
  double scale = 0;
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    scale = std::max(scale, std::abs(x[i]));
    if (std::isnan(x[i] - y[i])) return x[i] - y[i];
    worst = std::max(worst, std::abs(x[i] - y[i]));
  }
  return worst / scale;
}

std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> result;
  for (const auto& [name, tensor] : tensors) result.push_back(name);
  return result;
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

NamedTensors cloned(const NamedTensors& tensors) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) result.emplace_back(name, tensor.clone());
  return result;
}

}  // namespace

TEST_CASE("Eval, Tune and Deploy of a ConvBN are one function", "[conv_bn]") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    auto layer = trained_layer(variant.options, DType::float64);
    Generator generator{4, 0};
    const Tensor x = random_normal({2, 7, 6, 4}, 0, 1, generator, DType::float64);
    layer->set_mode(Mode::eval);
    const Tensor eval = (*layer)(x);
    layer->set_mode(Mode::tune);
    CHECK(relative_difference(eval, (*layer)(x)) <= 1e-13);
    layer->deploy();
    CHECK(layer->mode() == Mode::deploy);
    CHECK(relative_difference(eval, (*layer)(x)) <= 1e-13);
    layer->undeploy();
    CHECK(layer->mode() == Mode::eval);
    CHECK(relative_difference(eval, (*layer)(x)) <= 1e-12);
  }
}

TEST_CASE("undeploy() restores the parameters of an untouched Deploy", "[conv_bn]") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    auto layer = trained_layer(variant.options, DType::float64);
    const NamedTensors before = cloned(layer->state_dict());
    layer->deploy();
    layer->undeploy();
    const NamedTensors after = layer->state_dict();
    REQUIRE(names(before) == names(after));
    for (std::size_t i = 0; i < before.size(); ++i) {
      INFO(before[i].first);
      if (is_floating(before[i].second.dtype())) {
        CHECK(relative_difference(before[i].second, after[i].second) <= 1e-9);
      }
    }
  }
}

TEST_CASE("undeploy() keeps the function after training in Deploy", "[conv_bn]") {
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    auto layer = trained_layer(variant.options, DType::float64);
    Generator generator{8, 0};
    const Tensor x = random_normal({2, 7, 6, 4}, 0, 1, generator, DType::float64);
    layer->deploy();
    {
      NoGradGuard no_grad;
      for (Tensor& parameter : layer->parameters()) {
        const Tensor change = random_normal(parameter.shape(), 0, 0.1, generator, DType::float64);
        auto values = parameter.to_vector<double>();
        const auto changes = change.to_vector<double>();
        for (std::size_t i = 0; i < values.size(); ++i) values[i] += changes[i];
        parameter.copy_(Tensor::from(values, parameter.shape()));
      }
    }
    const Tensor deployed = (*layer)(x);
    layer->undeploy();
    CHECK(relative_difference(deployed, (*layer)(x)) <= 1e-9);
    layer->set_mode(Mode::tune);
    CHECK(relative_difference(deployed, (*layer)(x)) <= 1e-9);
  }
}

TEST_CASE("a channel with gamma = 0 comes back only if its folded filter is unchanged",
          "[conv_bn]") {
  auto layer = trained_layer({.in_channels = 4, .out_channels = 6}, DType::float64);
  const auto filter = layer->weight().to_vector<double>();
  const std::size_t row = filter.size() / 6;  // gamma[0] = 0: the first row folds to zeros
  layer->deploy();
  layer->undeploy();
  CHECK(layer->gamma().to_vector<double>()[0] == 0);
  CHECK(std::vector<double>(filter.begin(), filter.begin() + static_cast<std::ptrdiff_t>(row)) ==
        [&] {
          auto now = layer->weight().to_vector<double>();
          now.resize(row);
          return now;
        }());

  layer->deploy();
  test::set_element(layer->weight(), 3, 0.25);
  layer->undeploy();
  const double sigma = std::sqrt(layer->running_var().to_vector<double>()[0] + 1e-5);
  CHECK(std::abs(layer->gamma().to_vector<double>()[0] - sigma) <= 1e-15);
  CHECK(layer->weight().to_vector<double>()[3] == 0.25);
  CHECK(layer->weight().to_vector<double>()[2] == 0);
}

TEST_CASE("a ConvBN has one state dict for Train, Eval and Tune, another for Deploy", "[conv_bn]") {
  ConvBN layer({.in_channels = 3, .out_channels = 4, .bias = true});
  const std::vector<std::string> expected{"conv.weight",
                                          "conv.bias",
                                          "bn.weight",
                                          "bn.bias",
                                          "bn.running_mean",
                                          "bn.running_var",
                                          "bn.num_batches_tracked"};
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune}) {
    layer.set_mode(mode);
    CHECK(names(layer.state_dict()) == expected);
  }
  layer.deploy();
  CHECK(names(layer.named_parameters()) == std::vector<std::string>{"conv.weight", "conv.bias"});
  for (const std::string& name : names(layer.state_dict())) {
    CHECK(name.rfind("conv.", 0) == 0);  // never bn.*: it would be folded twice
  }
}

TEST_CASE("only Train changes state, and counts its batches", "[conv_bn]") {
  auto layer = trained_layer({.in_channels = 4, .out_channels = 6}, DType::float32);
  Generator generator{5, 0};
  const Tensor x = random_normal({2, 5, 5, 4}, 0, 1, generator);
  const auto state = [&] {
    std::vector<double> all;
    for (const auto& [name, tensor] : layer->state_dict()) {
      for (double value : tensor.to_vector<double>()) all.push_back(value);
    }
    return all;
  };
  const auto before = state();
  layer->set_mode(Mode::eval);
  (*layer)(x);
  layer->set_mode(Mode::tune);
  (*layer)(x);
  CHECK(state() == before);
  layer->set_mode(Mode::train);
  (*layer)(x);
  const auto after = state();
  CHECK(after != before);
  CHECK(after.back() == before.back() + 1);  // bn.num_batches_tracked
}

TEST_CASE("Deploy and the other modes are reached only by deploy() and undeploy()", "[conv_bn]") {
  ConvBN layer({.in_channels = 3, .out_channels = 4});
  CHECK(message([&] { layer.set_mode(Mode::deploy); }).find("call deploy() first") !=
        std::string::npos);
  CHECK(layer.mode() == Mode::train);
  CHECK(message([&] { layer.undeploy(); }).find("not folded") != std::string::npos);
  layer.deploy();
  CHECK(message([&] { layer.set_mode(Mode::tune); }).find("call undeploy()") != std::string::npos);
  CHECK(message([&] { layer.deploy(); }).find("folded already") != std::string::npos);
  CHECK(layer.mode() == Mode::deploy);
}

TEST_CASE("a pinned layer keeps its mode", "[conv_bn]") {
  ConvBN layer({.in_channels = 3, .out_channels = 4});
  layer.pin_mode(Mode::tune);
  layer.set_mode(Mode::train);
  CHECK(layer.mode() == Mode::tune);
  layer.unpin_mode();
  layer.set_mode(Mode::train);
  CHECK(layer.mode() == Mode::train);
}

TEST_CASE("modes leave requires_grad and recording alone", "[conv_bn]") {
  ConvBN layer({.in_channels = 3, .out_channels = 4});
  for (const Mode mode : {Mode::eval, Mode::tune, Mode::train}) {
    layer.set_mode(mode);
    for (const Tensor& parameter : layer.parameters()) CHECK(parameter.requires_grad());
    CHECK(grad_enabled());
    CHECK(layer(Tensor::ones({2, 4, 4, 3})).requires_grad());
  }
}

TEST_CASE("deploy() and undeploy() retire what they replace and carry frozen flags over",
          "[conv_bn]") {
  ConvBN layer({.in_channels = 3, .out_channels = 4});
  const std::vector<Tensor> four_modes = layer.parameters();
  layer.deploy();
  for (const Tensor& parameter : four_modes) CHECK(parameter.retired());
  for (const Tensor& parameter : layer.parameters()) {
    CHECK(parameter.requires_grad());
    CHECK(!parameter.retired());
  }
  const std::vector<Tensor> deployed = layer.parameters();
  layer.undeploy();
  for (const Tensor& parameter : deployed) CHECK(parameter.retired());
  for (const Tensor& parameter : layer.parameters()) CHECK(!parameter.retired());

  layer.freeze();
  layer.deploy();
  for (const Tensor& parameter : layer.parameters()) CHECK(!parameter.requires_grad());
  layer.undeploy();
  for (const Tensor& parameter : layer.parameters()) CHECK(!parameter.requires_grad());
}

TEST_CASE("one ConvBN may be called twice in a forward pass, in every mode", "[conv_bn]") {
  Generator generator{6, 0};
  const Tensor x = random_normal({2, 5, 5, 4}, 0, 1, generator, DType::float64);
  std::vector<Tensor> gradients;
  for (const Mode mode : {Mode::eval, Mode::tune}) {
    auto layer =
        trained_layer({.in_channels = 4, .out_channels = 4, .padding = {1, 1}}, DType::float64);
    layer->set_mode(mode);
    const Tensor z = (*layer)((*layer)(x, {}, true), {}, true);
    z.backward(random_normal(z.shape(), 0, 1, generator = {6, 9}, DType::float64));
    gradients.push_back(layer->weight().grad());
  }
  CHECK(relative_difference(gradients[0], gradients[1]) <= 1e-11);
}

TEST_CASE("a fused residual and ReLU equal separate ones in Deploy", "[conv_bn]") {
  auto layer =
      trained_layer({.in_channels = 4, .out_channels = 4, .padding = {1, 1}}, DType::float64);
  layer->set_mode(Mode::eval);
  Generator generator{6, 0};
  const Tensor x = random_normal({2, 5, 5, 4}, 0, 1, generator, DType::float64);
  const Tensor expected = (*layer)(x, x, true);
  layer->deploy();
  CHECK(relative_difference(expected, (*layer)(x, x, true)) <= 1e-13);
}

TEST_CASE("a ConvBN checks its options", "[conv_bn]") {
  CHECK(message([] { ConvBN({.in_channels = 3, .out_channels = 4, .groups = 2}); }) ==
        "ConvBN: 3 input and 4 output channels in 2 groups");
  CHECK(message([] { ConvBN({.in_channels = 0, .out_channels = 4}); }) ==
        "ConvBN: 0 input and 4 output channels in 1 groups");
}
