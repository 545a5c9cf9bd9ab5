// The fused ConvBN operation: Tune equals Eval, each mode equals its definition, and each keeps
// exactly the bytes it promises.

#include "attune/core/ops/conv_bn.h"

#include <cmath>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/grad_check.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/batch_norm.h"
#include "attune/core/ops/conv2d.h"
#include "attune/core/random.h"
#include "tests/catch.h"

using namespace attune;

namespace {

// A block of random geometry with everything a fold can get wrong: non-zero bias and mean, gamma
// negative and zero, variances from 1e-4 to 1e2.
struct Block {
  ConvBNTensors tensors;
  ConvBNSettings settings;
  std::string description;
};

Block random_block(RandomStream& random, DType dtype) {
  Generator generator{static_cast<std::uint64_t>(random.below(1 << 30)), 0};
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return low + random.below(high - low + 1);
  };
  Block block;
  ConvolutionOptions& o = block.settings.convolution;
  const bool depthwise = random.below(5) == 0;
  o.transposed = random.below(4) == 0;
  o.conv.groups = depthwise ? pick(2, 4) : pick(1, 3);
  const std::int64_t in = depthwise ? o.conv.groups : o.conv.groups * pick(1, 3);
  const std::int64_t out = depthwise ? o.conv.groups * pick(1, 2) : o.conv.groups * pick(1, 3);
  const std::int64_t r = pick(1, 3);
  const std::int64_t s = pick(1, 3);
  o.conv.stride = {pick(1, 2), pick(1, 2)};
  o.conv.padding = {pick(0, r - 1), pick(0, s - 1)};
  o.conv.dilation = {pick(1, 2), pick(1, 2)};
  block.settings.relu = random.below(2) == 0;
  const std::int64_t n = pick(1, 3);
  const std::int64_t h = pick(5, 8);
  const std::int64_t w = pick(5, 8);

  const auto normal = [&](const Shape& shape, double mean, double deviation) {
    return random_normal(shape, mean, deviation, generator, dtype);
  };
  ConvBNTensors& t = block.tensors;
  t.x = normal({n, h, w, in}, 0.3, 1);
  t.weight = o.transposed ? normal({in, r, s, out / o.conv.groups}, 0, 0.5)
                          : normal({out, r, s, in / o.conv.groups}, 0, 0.5);
  if (random.below(2) == 0) t.bias = normal({out}, 0.5, 1);
  if (random.below(4) != 0) {
    std::vector<double> gamma = normal({out}, 0, 1).to_vector<double>();
    gamma[static_cast<std::size_t>(random.below(out))] = 0;
    gamma[0] = -std::abs(gamma[0]) - 0.1;
    t.gamma = Tensor::from(gamma, {out}).to(dtype);
    t.beta = normal({out}, -0.2, 1);
  }
  t.running_mean = normal({out}, 1, 2);
  std::vector<double> var;
  for (std::int64_t c = 0; c < out; ++c) var.push_back(std::pow(10, -4 + 6 * random.uniform()));
  t.running_var = Tensor::from(var, {out}).to(dtype);
  const Shape output =
      Convolution("test", t.x, t.weight, t.bias, block.settings.convolution).output_shape();
  if (random.below(2) == 0) t.residual = normal(output, 0, 1);
  block.description =
      "x " + to_string(t.x.shape()) + ", w " + to_string(t.weight.shape()) + ", groups " +
      std::to_string(o.conv.groups) + (o.transposed ? ", transposed" : "") +
      (t.bias.defined() ? ", bias" : "") + (t.gamma.defined() ? ", affine" : "") +
      (t.residual.defined() ? ", residual" : "") + (block.settings.relu ? ", relu" : "");
  return block;
}

std::vector<Tensor*> leaves(ConvBNTensors& t) {
  std::vector<Tensor*> result;
  for (Tensor* leaf : {&t.x, &t.weight, &t.bias, &t.gamma, &t.beta, &t.residual}) {
    if (leaf->defined()) result.push_back(leaf);
  }
  return result;
}

// Fresh leaves over the same elements.
ConvBNTensors with_gradients(const ConvBNTensors& tensors) {
  ConvBNTensors copy = tensors;
  for (Tensor* leaf : leaves(copy)) *leaf = leaf->detach().set_requires_grad();
  return copy;
}

double largest(const Tensor& tensor) {
  double result = 0;
  for (double value : tensor.to_vector<double>()) result = std::max(result, std::abs(value));
  return result;
}

// Largest difference relative to `scale` (0: everything is zero, and absolute then); NaN compares
// as a failure at the caller's.
double difference(const Tensor& a, const Tensor& b, double scale) {
  if (scale == 0) scale = 1;
  const auto x = a.to_vector<double>();
  const auto y = b.to_vector<double>();
  double result = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = x[i] == y[i] ? 0 : std::abs(x[i] - y[i]) / scale;  // scale may be 0
    if (std::isnan(error)) return error;
    result = std::max(result, error);
  }
  return result;
}

// dgamma = r (<dw', w> + (b - mean) S) cancels where |mean| >> sigma; its error is measured against
// the sum of the two magnitudes.
double gamma_gradient_scale(const ConvBNTensors& t, const ConvBNSettings& settings,
                            const Tensor& seed) {
  const Convolution conv("test", t.x, t.weight, t.bias, settings.convolution);
  const auto filter = conv.filter_channels();
  Tensor dw = Tensor::empty(t.weight.shape(), t.weight.dtype());
  Tensor db = Tensor::empty({filter.channels()}, t.weight.dtype());
  conv.backward({}, {}, {dw}, {db}, t.x, seed, {});
  const auto dw_values = dw.to_vector<double>();
  const auto w = t.weight.to_vector<double>();
  const auto sums = db.to_vector<double>();
  const auto mean = t.running_mean.to_vector<double>();
  const auto var = t.running_var.to_vector<double>();
  std::vector<double> products(static_cast<std::size_t>(filter.channels()));
  for (std::int64_t o = 0, index = 0; o < filter.outer; ++o) {
    for (std::int64_t m = 0; m < filter.middle; ++m) {
      for (std::int64_t i = 0; i < filter.inner; ++i, ++index) {
        products[static_cast<std::size_t>(filter.channel(o, i))] +=
            dw_values[static_cast<std::size_t>(index)] * w[static_cast<std::size_t>(index)];
      }
    }
  }
  const auto bias =
      t.bias.defined() ? t.bias.to_vector<double>() : std::vector<double>(products.size());
  double scale = 0;
  for (std::size_t c = 0; c < products.size(); ++c) {
    const double r = 1 / std::sqrt(var[c] + settings.eps);
    scale = std::max(scale, r * (std::abs(products[c]) + std::abs((bias[c] - mean[c]) * sums[c])));
  }
  return scale;
}

// Largest relative difference between Eval and Tune over output and gradients, over `blocks`.
double eval_against_tune(int blocks, DType dtype, double bound) {
  RandomStream random(7);
  double worst = 0;
  for (int i = 0; i < blocks; ++i) {
    Block block = random_block(random, dtype);
    INFO(block.description);
    ConvBNTensors eval = with_gradients(block.tensors);
    ConvBNTensors tune = with_gradients(block.tensors);
    const Tensor z_eval = conv_bn_eval(eval, block.settings);
    const Tensor z_tune = conv_bn_tune(tune, block.settings);
    const double output_error = difference(z_eval, z_tune, largest(z_eval));
    CHECK(output_error <= bound);
    worst = std::max(worst, output_error);

    // Where an output rounds to either side of zero, a ReLU makes two different functions of the
    // two modes; such elements get no gradient.
    Generator generator{static_cast<std::uint64_t>(i), 0};
    auto seed_values = random_normal(z_eval.shape(), 0, 1, generator).to_vector<double>();
    const auto a = z_eval.to_vector<double>();
    const auto b = z_tune.to_vector<double>();
    for (std::size_t e = 0; e < a.size(); ++e) {
      if ((a[e] > 0) != (b[e] > 0)) seed_values[e] = 0;
    }
    const Tensor seed = Tensor::from(seed_values, z_eval.shape()).to(dtype);
    z_eval.backward(seed);
    z_tune.backward(seed);

    auto masked_values = seed_values;
    for (std::size_t e = 0; e < a.size(); ++e) {
      if (block.settings.relu && !(a[e] > 0)) masked_values[e] = 0;
    }
    const Tensor masked = Tensor::from(masked_values, z_eval.shape()).to(dtype);
    const auto of_eval = leaves(eval);
    const auto of_tune = leaves(tune);
    for (std::size_t leaf = 0; leaf < of_eval.size(); ++leaf) {
      const Tensor expected = of_eval[leaf]->grad();
      const bool is_gamma = of_eval[leaf] == &eval.gamma;
      const double scale = is_gamma ? gamma_gradient_scale(block.tensors, block.settings, masked)
                                    : largest(expected);
      const double error = difference(expected, of_tune[leaf]->grad(), scale);
      INFO("leaf " << leaf << ", error " << error);
      CHECK(error <= bound);
      worst = std::max(worst, error);
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("Tune equals Eval over random blocks, output and all gradients, in double", "[conv_bn]") {
  eval_against_tune(300, DType::float64, 1e-12);
}

TEST_CASE("Tune equals Eval over random blocks, output and all gradients, in float", "[conv_bn]") {
  eval_against_tune(300, DType::float32, 8e-6);
}

TEST_CASE("each mode of conv_bn equals its convolution and batch norm apart", "[conv_bn]") {
  RandomStream random(11);
  for (int i = 0; i < 60; ++i) {
    Block block = random_block(random, DType::float64);
    INFO(block.description);
    for (const bool train : {true, false}) {
      ConvBNTensors fused = with_gradients(block.tensors);
      ConvBNTensors apart = with_gradients(block.tensors);
      for (ConvBNTensors* t : {&fused, &apart}) {
        t->running_mean = t->running_mean.clone();
        t->running_var = t->running_var.clone();
      }
      const ConvBNSettings& s = block.settings;
      const Tensor z = train ? conv_bn_train(fused, s) : conv_bn_eval(fused, s);
      const Tensor y = convolve(apart.x, apart.weight, apart.bias, s.convolution);
      const Tensor expected =
          train ? batch_norm_train(y, apart.gamma, apart.beta, apart.running_mean,
                                   apart.running_var, s.momentum, s.eps, apart.residual, s.relu)
                : batch_norm_eval(y, apart.gamma, apart.beta, apart.running_mean, apart.running_var,
                                  s.eps, apart.residual, s.relu);
      // The same operations, but compiled into two places: where one contracts a product and a sum
      // into a single rounding, the other may not.
      const double rounding = train ? 0 : 1e-14;
      REQUIRE(difference(z, expected, largest(expected)) <= rounding);
      CHECK(difference(fused.running_mean, apart.running_mean, 1) == 0);
      CHECK(difference(fused.running_var, apart.running_var, 1) == 0);
      Generator generator{static_cast<std::uint64_t>(i), 0};
      const Tensor seed = random_normal(z.shape(), 0, 1, generator, DType::float64);
      z.backward(seed);
      expected.backward(seed);
      const auto of_fused = leaves(fused);
      const auto of_apart = leaves(apart);
      for (std::size_t leaf = 0; leaf < of_fused.size(); ++leaf) {
        const Tensor grad = of_apart[leaf]->grad();
        // Eval multiplies by gamma / sigma after the convolution's sums, apart it is done before.
        const double tolerance = train ? 0 : 1e-12;
        CHECK(difference(of_fused[leaf]->grad(), grad, largest(grad)) <= tolerance);
      }
    }
  }
}

TEST_CASE("conv_bn gradients agree with finite differences in each mode", "[conv_bn]") {
  RandomStream random(13);
  for (int i = 0; i < 12; ++i) {
    Block block = random_block(random, DType::float64);
    block.settings.relu = false;  // a kink within the step would spoil the difference quotient
    // The quotient's own error grows with 1 / sigma^3.
    block.tensors.running_var =
        Tensor::full(block.tensors.running_var.shape(), 0.7, DType::float64);
    INFO(block.description);
    for (const int mode : {0, 1, 2}) {
      const auto f = [&](const std::vector<Tensor>& inputs) {
        ConvBNTensors t = block.tensors;
        std::size_t next = 0;
        for (Tensor* leaf : leaves(t)) *leaf = inputs[next++];
        t.running_mean = t.running_mean.clone();
        t.running_var = t.running_var.clone();
        return mode == 0   ? conv_bn_train(t, block.settings)
               : mode == 1 ? conv_bn_eval(t, block.settings)
                           : conv_bn_tune(t, block.settings);
      };
      std::vector<Tensor> inputs;
      for (Tensor* leaf : leaves(block.tensors)) inputs.push_back(*leaf);
      const GradCheckResult result = grad_check(f, inputs);
      INFO("mode " << mode << ": " << result.message);
      CHECK(result.ok);
    }
  }
}

TEST_CASE("conv_bn keeps exactly what its gradients need", "[conv_bn][memory]") {
  const std::int64_t n = 2, h = 6, w = 6, in = 3, out = 4;
  const std::int64_t x_bytes = n * h * w * in * 4;
  const std::int64_t y_bytes = n * h * w * out * 4;
  const std::int64_t statistics_bytes = 2 * out * 4;
  Generator generator{3, 0};
  const auto parameter = [&](const Shape& shape) {
    Tensor tensor = random_normal(shape, 1, 0.1, generator);
    tensor.storage().set_purpose(MemoryPurpose::parameter);
    return tensor;
  };
  enum class Frozen { none, weight, gamma, weight_and_gamma, all, all_but_beta };
  const auto saved = [&](auto mode, Frozen frozen, bool input_needs_gradient) {
    ConvBNTensors t{.x = random_normal({n, h, w, in}, 0, 1, generator),
                    .weight = parameter({out, 3, 3, in}),
                    .gamma = parameter({out}),
                    .beta = parameter({out}),
                    .running_mean = parameter({out}),
                    .running_var = parameter({out})};
    const bool freeze_weight =
        frozen == Frozen::weight || frozen == Frozen::weight_and_gamma || frozen >= Frozen::all;
    const bool freeze_gamma =
        frozen == Frozen::gamma || frozen == Frozen::weight_and_gamma || frozen >= Frozen::all;
    t.weight.set_requires_grad(!freeze_weight);
    t.gamma.set_requires_grad(!freeze_gamma);
    t.beta.set_requires_grad(frozen != Frozen::all);
    t.x.set_requires_grad(input_needs_gradient);
    return saved_bytes(mode(t, ConvBNSettings{.convolution = {.conv = {.padding = {1, 1}}}}));
  };

  SECTION("Tune keeps x if weight or gamma needs a gradient, and nothing else") {
    for (const bool input : {true, false}) {
      CHECK(saved(conv_bn_tune, Frozen::none, input) == x_bytes);
      CHECK(saved(conv_bn_tune, Frozen::weight, input) == x_bytes);
      CHECK(saved(conv_bn_tune, Frozen::gamma, input) == x_bytes);
      CHECK(saved(conv_bn_tune, Frozen::weight_and_gamma, input) == 0);
    }
    CHECK(saved(conv_bn_tune, Frozen::all, true) == 0);
  }
  SECTION("Eval keeps x if weight does, y if gamma does") {
    for (const bool input : {true, false}) {
      CHECK(saved(conv_bn_eval, Frozen::none, input) == x_bytes + y_bytes);
      CHECK(saved(conv_bn_eval, Frozen::weight, input) == y_bytes);
      CHECK(saved(conv_bn_eval, Frozen::gamma, input) == x_bytes);
      CHECK(saved(conv_bn_eval, Frozen::weight_and_gamma, input) == 0);
    }
    CHECK(saved(conv_bn_eval, Frozen::all, true) == 0);
  }
  SECTION("Train keeps y whenever x, weight or gamma needs a gradient") {
    CHECK(saved(conv_bn_train, Frozen::none, true) == x_bytes + y_bytes + statistics_bytes);
    CHECK(saved(conv_bn_train, Frozen::weight, false) == y_bytes + statistics_bytes);
    CHECK(saved(conv_bn_train, Frozen::gamma, false) == x_bytes + y_bytes + statistics_bytes);
    CHECK(saved(conv_bn_train, Frozen::weight_and_gamma, true) == y_bytes + statistics_bytes);
    CHECK(saved(conv_bn_train, Frozen::all, true) == y_bytes + statistics_bytes);
  }
}

TEST_CASE("a ReLU output shared by two blocks is kept once", "[conv_bn][memory]") {
  Generator generator{5, 0};
  const auto parameter = [&](const Shape& shape) {
    Tensor tensor = random_normal(shape, 1, 0.1, generator).set_requires_grad();
    tensor.storage().set_purpose(MemoryPurpose::parameter);
    return tensor;
  };
  const auto block = [&](const Tensor& x) {
    return ConvBNTensors{.x = x,
                         .weight = parameter({4, 3, 3, 4}),
                         .gamma = parameter({4}),
                         .beta = parameter({4}),
                         .running_mean = parameter({4}),
                         .running_var = parameter({4})};
  };
  const ConvBNSettings settings{.convolution = {.conv = {.padding = {1, 1}}}, .relu = true};
  const Tensor x = random_normal({2, 6, 6, 4}, 0, 1, generator);
  const Tensor hidden = conv_bn_tune(block(x), settings);
  ConvBNTensors second = block(hidden);
  second.residual = hidden;
  const Tensor z = conv_bn_tune(second, settings);
  CHECK(saved_bytes(z) == 3 * x.bytes());  // x, hidden, z
  CHECK(saved_bytes(z, {x}) == 2 * x.bytes());
}

TEST_CASE("changing a parameter between forward and backward is noticed", "[conv_bn]") {
  RandomStream random(17);
  for (const int which : {0, 1, 2}) {
    Block block = random_block(random, DType::float64);
    ConvBNTensors t = with_gradients(block.tensors);
    const Tensor z = conv_bn_tune(t, block.settings);
    Tensor changed = which == 0 ? t.weight : which == 1 ? t.running_var : t.running_mean;
    {
      NoGradGuard no_grad;
      changed.fill_(1);
    }
    CHECK_THROWS_AS(z.backward(Tensor::full(z.shape(), 1, DType::float64)), Error);
  }
}

TEST_CASE("conv_bn refuses what does not fit, and says why", "[conv_bn]") {
  Generator generator{1, 0};
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  ConvBNTensors t{.x = random_normal({1, 5, 5, 3}, 0, 1, generator),
                  .weight = random_normal({4, 3, 3, 3}, 0, 1, generator),
                  .running_mean = Tensor::zeros({4}),
                  .running_var = Tensor::ones({4})};
  ConvBNTensors bad = t;
  bad.gamma = Tensor::ones({5});
  CHECK(message([&] { conv_bn_tune(bad, {}); }) ==
        "conv_bn_tune: a channel vector is [5], but there are 4 channels");
  bad = t;
  bad.running_mean = {};
  bad.running_var = {};
  CHECK(message([&] { conv_bn_eval(bad, {}); }) == "conv_bn_eval: needs running statistics");
  bad = t;
  bad.residual = Tensor::zeros({1, 5, 5, 4});
  CHECK(message([&] { conv_bn_tune(bad, {}); }) ==
        "conv_bn_tune: residual [1, 5, 5, 4] does not have the output's shape [1, 3, 3, 4]");
  bad = t;
  bad.x = Tensor::zeros({1, 3, 3, 3});
  CHECK(message([&] { conv_bn_train(bad, {}); }).find("has no variance") != std::string::npos);
  bad = t;
  bad.x = Tensor::zeros({1, 5, 5, 3}, DType::float64);
  CHECK(message([&] { conv_bn_tune(bad, {}); }).find("conv_bn_tune: float64 [1, 5, 5, 3]") == 0);
}
