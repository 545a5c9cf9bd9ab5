// The single layers: that each calls its operation with its own options, and says what it must.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/grad_check.h"
#include "attune/core/ops/conv2d.h"
#include "attune/core/ops/linear.h"
#include "attune/core/ops/pool.h"
#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/dropout.h"
#include "attune/layers/flatten.h"
#include "attune/layers/linear.h"
#include "attune/layers/pooling.h"
#include "attune/layers/relu.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

Tensor normal(const Shape& shape, std::uint64_t seed, DType dtype = DType::float32) {
  Generator generator{seed, 0};
  return random_normal(shape, 0, 1, generator, dtype);
}

}  // namespace

TEST_CASE("Conv2d passes on every option", "[layers]") {
  Conv2d conv({.in_channels = 4,
               .out_channels = 6,
               .kernel = {3, 2},
               .stride = {2, 1},
               .padding = {1, 2},
               .dilation = {1, 2},
               .groups = 2});
  const Tensor x = normal({2, 7, 8, 4}, 1);
  const Tensor y = conv(x);
  CHECK(conv.weight().shape() == Shape{6, 3, 2, 2});
  CHECK(y.shape() == Shape{2, 4, 10, 6});
  const Tensor expected =
      conv2d(x, conv.weight(), conv.bias(),
             {.stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2});
  CHECK(y.to_vector<float>() == expected.to_vector<float>());
  CHECK(names(conv.named_parameters()) == std::vector<std::string>{"weight", "bias"});
  CHECK(conv.parameter_count() == 6 * 3 * 2 * 2 + 6);
  CHECK(conv.flops(x.shape(), y.shape()) == 2 * (2 * 4 * 10 * 6) * (3 * 2 * 2));

  Conv2d plain({.in_channels = 4, .out_channels = 6, .bias = false});
  CHECK(names(plain.named_parameters()) == std::vector<std::string>{"weight"});
  CHECK(!plain.bias().defined());
  CHECK(plain(x).shape() == Shape{2, 5, 6, 6});
}

TEST_CASE("ConvTranspose2d passes on every option", "[layers]") {
  ConvTranspose2d conv({.in_channels = 4,
                        .out_channels = 6,
                        .kernel = {3, 2},
                        .stride = {2, 3},
                        .padding = {1, 0},
                        .output_padding = {1, 2},
                        .dilation = {1, 2},
                        .groups = 2});
  const Tensor x = normal({2, 5, 4, 4}, 2);
  const Tensor y = conv(x);
  CHECK(conv.weight().shape() == Shape{4, 3, 2, 3});
  CHECK(y.shape() == Shape{2, 10, 14, 6});
  const Tensor expected = conv_transpose2d(
      x, conv.weight(), conv.bias(),
      {.stride = {2, 3}, .padding = {1, 0}, .dilation = {1, 2}, .groups = 2}, {1, 2});
  CHECK(y.to_vector<float>() == expected.to_vector<float>());
  CHECK(conv.flops(x.shape(), y.shape()) == 2 * (2 * 5 * 4 * 4) * (3 * 2 * 3));
}

TEST_CASE("convolution layers refuse impossible channels and kernels", "[layers]") {
  REQUIRE_THROWS_AS(Conv2d({.out_channels = 2}), Error);
  REQUIRE_THROWS_AS(Conv2d({.in_channels = 3, .out_channels = 4, .groups = 2}), Error);
  REQUIRE_THROWS_AS(Conv2d({.in_channels = 4, .out_channels = 3, .groups = 2}), Error);
  REQUIRE_THROWS_AS(Conv2d({.in_channels = 4, .out_channels = 3, .groups = 0}), Error);
  REQUIRE_THROWS_AS(Conv2d({.in_channels = 4, .out_channels = 3, .kernel = {3, 0}}), Error);
  REQUIRE_THROWS_AS(ConvTranspose2d({.in_channels = 4}), Error);
  CHECK(message_of<Error>([] { Conv2d({.in_channels = 3, .out_channels = 4, .groups = 2}); }) ==
        "Conv2d: 3 input and 4 output channels in 2 groups");
  Conv2d conv({.in_channels = 3, .out_channels = 4});
  REQUIRE_THROWS_AS(conv(normal({1, 5, 5, 2}, 1)), Error);
}

TEST_CASE("Linear is x weight^T + bias", "[layers]") {
  Linear layer({.in_features = 3, .out_features = 2});
  layer.load_state_dict(
      {{"weight", Tensor::from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3})},
       {"bias", Tensor::from<float>(std::vector<float>{10, 20}, {2})}});
  const Tensor x = Tensor::from<float>(std::vector<float>{1, 0, -1, 1, 1, 1}, {2, 3});
  const Tensor y = layer(x);
  CHECK(y.to_vector<float>() == std::vector<float>{8, 18, 16, 35});
  CHECK(layer.flops(x.shape(), y.shape()) == 2 * 2 * 3 * 2);
  Linear plain({.in_features = 3, .out_features = 2, .bias = false});
  CHECK(plain.parameter_count() == 6);
  REQUIRE_THROWS_AS(Linear({.in_features = 3}), Error);
  REQUIRE_THROWS_AS(layer(Tensor::ones({2, 4})), Error);
}

TEST_CASE("BatchNorm2d uses the batch in Train and running statistics elsewhere", "[layers]") {
  BatchNorm2d bn({.channels = 3, .eps = 1e-3, .momentum = 0.25});
  CHECK(names(bn.state_dict()) == std::vector<std::string>{"weight", "bias", "running_mean",
                                                           "running_var", "num_batches_tracked"});
  bn.to(DType::float64);
  Generator generator{4, 0};
  pretend_trained(bn, generator);
  const auto gamma = bn.gamma().to_vector<double>();
  const auto beta = bn.beta().to_vector<double>();
  const auto old_mean = bn.running_mean().to_vector<double>();
  const auto old_var = bn.running_var().to_vector<double>();
  const Tensor x = random_normal({4, 3, 5, 3}, 2, 3, generator, DType::float64);
  const auto in = x.to_vector<double>();
  const double n = 4 * 3 * 5;

  for (const Mode mode : {Mode::eval, Mode::tune}) {
    bn.set_mode(mode);
    std::vector<double> expected = in;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::size_t c = i % 3;
      expected[i] = (in[i] - old_mean[c]) / std::sqrt(old_var[c] + 1e-3) * gamma[c] + beta[c];
    }
    CHECK(relative_error(bn(x).to_vector<double>(), expected) <= 1e-14);
    CHECK(bn.running_mean().to_vector<double>() == old_mean);
    CHECK(bn.num_batches_tracked().item() == 0);
  }

  bn.set_mode(Mode::train);
  const auto y = bn(x).to_vector<double>();
  std::vector<double> expected = in, mean(3), var(3);
  for (std::size_t i = 0; i < in.size(); ++i) mean[i % 3] += in[i] / n;
  for (std::size_t i = 0; i < in.size(); ++i) var[i % 3] += std::pow(in[i] - mean[i % 3], 2) / n;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::size_t c = i % 3;
    expected[i] = (in[i] - mean[c]) / std::sqrt(var[c] + 1e-3) * gamma[c] + beta[c];
  }
  CHECK(relative_error(y, expected) <= 1e-13);
  std::vector<double> new_mean(3), new_var(3);
  for (std::size_t c = 0; c < 3; ++c) {
    new_mean[c] = 0.75 * old_mean[c] + 0.25 * mean[c];
    new_var[c] = 0.75 * old_var[c] + 0.25 * var[c] * n / (n - 1);
  }
  CHECK(relative_error(bn.running_mean().to_vector<double>(), new_mean) <= 1e-13);
  CHECK(relative_error(bn.running_var().to_vector<double>(), new_var) <= 1e-13);
  bn(x);
  CHECK(bn.num_batches_tracked().item() == 2);
}

TEST_CASE("BatchNorm2d has gradients in every mode", "[layers]") {
  for (const bool affine : {true, false}) {
    BatchNorm2d bn({.channels = 2, .affine = affine});
    bn.to(DType::float64);
    Generator generator{5, 0};
    pretend_trained(bn, generator);
    CHECK(bn.parameters().size() == (affine ? 2 : 0));
    for (const Mode mode : {Mode::train, Mode::eval, Mode::tune, Mode::deploy}) {
      bn.set_mode(mode);
      std::vector<Tensor> inputs = bn.parameters();
      inputs.push_back(normal({2, 3, 2, 2}, 6, DType::float64));
      const auto result =
          grad_check([&](const std::vector<Tensor>& in) { return bn(in.back()); }, inputs);
      INFO(to_string(mode) << ": " << result.message);
      CHECK(result.ok);
    }
  }
  REQUIRE_THROWS_AS(BatchNorm2d({}), Error);
}

TEST_CASE("ReLU, pooling and Flatten", "[layers]") {
  const Tensor x = normal({2, 6, 6, 3}, 7);
  const auto in = x.to_vector<float>();
  ReLU relu;
  const auto rectified = relu(x).to_vector<float>();
  for (std::size_t i = 0; i < in.size(); ++i) CHECK(rectified[i] == std::max(in[i], 0.0F));

  const Pool2dOptions options{.window = {3, 2}, .stride = {2, 1}, .padding = {1, 0}};
  MaxPool2d max_pool(options);
  AvgPool2d avg_pool(options);
  CHECK(max_pool(x).shape() == Shape{2, 3, 5, 3});
  CHECK(max_pool(x).to_vector<float>() == max_pool2d(x, options).to_vector<float>());
  CHECK(avg_pool(x).to_vector<float>() == avg_pool2d(x, options).to_vector<float>());
  CHECK(MaxPool2d()(x).shape() == Shape{2, 3, 3, 3});

  GlobalAvgPool global;
  const Tensor means = global(x);
  CHECK(means.shape() == Shape{2, 3});
  double first = 0;
  for (std::size_t i = 0; i < 36; ++i) first += in[3 * i] / 36.0;
  CHECK(std::abs(means.to_vector<double>()[0] - first) <= 1e-6);

  Flatten flat;
  CHECK(flat(x).shape() == Shape{2, 108});
  CHECK(flat(x).to_vector<float>() == in);
}

TEST_CASE("Dropout drops while training, and keeps the expectation", "[layers]") {
  Generator generator{8, 0};
  Dropout dropout(0.25, &generator);
  const Tensor x = Tensor::ones({100, 100});
  const auto y = dropout(x).to_vector<double>();
  double dropped = 0;
  for (const double value : y) {
    CHECK((value == 0 || std::abs(value - 1 / 0.75) <= 1e-6));
    dropped += value == 0;
  }
  CHECK(std::abs(dropped / 10000 - 0.25) <= 0.02);  // 4.6 standard deviations
  CHECK(dropout(x).to_vector<double>() != y);
  generator = {8, 0};
  CHECK(dropout(x).to_vector<double>() == y);

  dropout.train(false);
  const std::uint64_t uses = generator.uses;
  CHECK(dropout(x).to_vector<double>() == x.to_vector<double>());
  CHECK(generator.uses == uses);
  dropout.train();
  dropout.set_mode(Mode::tune);  // no business of dropout
  CHECK(dropout(x).to_vector<double>() != x.to_vector<double>());

  manual_seed(9);
  Dropout by_default;
  CHECK(by_default.p() == 0.5);
  const auto z = by_default(x).to_vector<double>();
  manual_seed(9);
  CHECK(by_default(x).to_vector<double>() == z);
  for (const double p : {-0.1, 1.0, std::nan("")}) REQUIRE_THROWS_AS(Dropout(p), Error);
}
