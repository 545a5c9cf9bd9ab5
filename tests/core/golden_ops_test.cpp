// Operations against PyTorch: tests/golden holds its outputs and gradients, in attune's layout.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "attune/core/ops/batch_norm.h"
#include "attune/core/ops/conv2d.h"
#include "attune/core/ops/conv_bn.h"
#include "attune/core/ops/pool.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "tests/catch.h"
#include "tests/golden.h"

namespace attune::test {
namespace {

const std::vector<DType> kFloatingTypes{DType::float64, DType::float32};

// Checks the gradient of each named tensor that has one against results["grad_<name>"].
void check_gradients(const std::vector<std::pair<std::string, Tensor>>& leaves, const Json& results,
                     double tolerance) {
  for (const auto& [name, leaf] : leaves) {
    INFO("gradient of " << name);
    REQUIRE(leaf.defined() == results.contains("grad_" + name));
    if (leaf.defined()) {
      CHECK(golden_error(leaf.grad(), results.at("grad_" + name)) <= tolerance);
    }
  }
}

std::array<std::int64_t, 2> pair(const Json& values) {
  return {values.at(0).get<std::int64_t>(), values.at(1).get<std::int64_t>()};
}

Conv2dOptions conv_options(const Json& stored) {
  return {.stride = pair(stored.at("stride")),
          .padding = pair(stored.at("padding")),
          .dilation = pair(stored.at("dilation")),
          .groups = stored.at("groups")};
}

// The tensors of one convolution, ready to be differentiated.
struct ConvCase {
  ConvCase(const Json& tensors, DType dtype)
      : x(golden_leaf(tensors, "x", dtype)),
        weight(golden_leaf(tensors, "weight", dtype)),
        bias(golden_leaf(tensors, "bias", dtype)),
        seed(golden_tensor(tensors.at("seed"), dtype)) {}

  void check(const Tensor& y, const Json& tensors, double tolerance) const {
    CHECK(golden_error(y, tensors.at("y")) <= tolerance);
    y.backward(seed);
    check_gradients({{"x", x}, {"weight", weight}, {"bias", bias}}, tensors, tolerance);
  }

  Tensor x, weight, bias, seed;
};

}  // namespace

TEST_CASE("conv2d agrees with PyTorch") {
  const Json golden = read_golden("conv2d.json");
  for (const DType dtype : kFloatingTypes) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      const Json& tensors = one.at("tensors");
      const ConvCase c(tensors, dtype);
      c.check(conv2d(c.x, c.weight, c.bias, conv_options(one.at("options"))), tensors,
              golden_tolerance(dtype));
    }
  }
}

TEST_CASE("conv_transpose2d agrees with PyTorch") {
  const Json golden = read_golden("conv_transpose2d.json");
  for (const DType dtype : kFloatingTypes) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      const Json& tensors = one.at("tensors");
      const Json& options = one.at("options");
      const ConvCase c(tensors, dtype);
      c.check(conv_transpose2d(c.x, c.weight, c.bias, conv_options(options),
                               pair(options.at("output_padding"))),
              tensors, golden_tolerance(dtype));
    }
  }
}

TEST_CASE("Batch normalisation agrees with PyTorch in both uses of statistics") {
  const Json golden = read_golden("batch_norm.json");
  for (const DType dtype : kFloatingTypes) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      // Where |mean| >> sigma, the rounding of the mean itself shows in z.
      const double tolerance = golden_tolerance(dtype) * one.at("condition").get<double>();
      const Json& t = one.at("tensors");
      const Tensor x = golden_leaf(t, "x", dtype);
      const Tensor gamma = golden_leaf(t, "gamma", dtype), beta = golden_leaf(t, "beta", dtype);
      const Tensor mean = golden_tensor(t.at("running_mean"), dtype);
      const Tensor var = golden_tensor(t.at("running_var"), dtype);
      const double eps = one.at("eps"), momentum = one.at("momentum");
      const Tensor z = one.at("mode") == "train"
                           ? batch_norm_train(x, gamma, beta, mean, var, momentum, eps)
                           : batch_norm_eval(x, gamma, beta, mean, var, eps);
      CHECK(golden_error(z, t.at("z")) <= tolerance);
      CHECK(golden_error(mean, t.at("new_running_mean")) <= tolerance);
      CHECK(golden_error(var, t.at("new_running_var")) <= tolerance);
      z.backward(golden_tensor(t.at("seed"), dtype));
      check_gradients({{"x", x}, {"gamma", gamma}, {"beta", beta}}, t, tolerance);
    }
  }
}

namespace {

// One ConvBN block of the golden file.
struct BlockCase {
  BlockCase(const Json& one, DType dtype) {
    const Json& t = one.at("tensors");
    const Json& options = one.at("options");
    tensors = {.x = golden_leaf(t, "x", dtype),
               .weight = golden_leaf(t, "weight", dtype),
               .bias = golden_leaf(t, "bias", dtype),
               .gamma = golden_leaf(t, "gamma", dtype),
               .beta = golden_leaf(t, "beta", dtype),
               .running_mean = golden_tensor(t.at("running_mean"), dtype),
               .running_var = golden_tensor(t.at("running_var"), dtype),
               .residual = golden_leaf(t, "residual", dtype)};
    settings = {
        .convolution = {.conv = conv_options(options), .transposed = options.at("transposed")},
        .eps = options.at("eps"),
        .momentum = options.at("momentum"),
        .relu = options.at("relu")};
    seed = golden_tensor(t.at("seed"), dtype);
  }

  FoldedConv fold() const {
    const Convolution convolution("test", tensors.x, tensors.weight, tensors.bias,
                                  settings.convolution);
    return fold_conv_bn(tensors, convolution.filter_channels(), settings.eps);
  }

  ConvBNTensors tensors;
  ConvBNSettings settings;
  Tensor seed;
};

}  // namespace

TEST_CASE("ConvBN agrees with PyTorch in Train, Eval and Tune") {
  const Json golden = read_golden("conv_bn.json");
  for (const DType dtype : kFloatingTypes) {
    const double tolerance = golden_tolerance(dtype);
    for (const Json& one : golden.at("cases")) {
      for (const std::string mode : {"train", "eval", "tune"}) {
        INFO(one.at("name") << ", " << mode << ", " << to_string(dtype));
        BlockCase block(one, dtype);
        const ConvBNTensors& t = block.tensors;
        const Json& expected = one.at("modes").at(mode);
        const Tensor z = mode == "train"  ? conv_bn_train(t, block.settings)
                         : mode == "eval" ? conv_bn_eval(t, block.settings)
                                          : conv_bn_tune(t, block.settings);
        CHECK(golden_error(z, expected.at("z")) <= tolerance);
        z.backward(block.seed);
        check_gradients({{"x", t.x},
                         {"weight", t.weight},
                         {"gamma", t.gamma},
                         {"beta", t.beta},
                         {"residual", t.residual}},
                        expected, tolerance);
        if (mode == "train") {
          CHECK(golden_error(t.running_mean, expected.at("new_running_mean")) <= tolerance);
          CHECK(golden_error(t.running_var, expected.at("new_running_var")) <= tolerance);
          // The batch mean removes the bias: its gradient is rounding, here as in PyTorch.
          if (!t.bias.defined()) continue;
          for (const double value : t.bias.grad().to_vector<double>()) {
            CHECK(std::abs(value) <= 100 * tolerance);
          }
        } else {
          check_gradients({{"bias", t.bias}}, expected, tolerance);
          CHECK(golden_error(t.running_mean, one.at("tensors").at("running_mean")) <= 1e-15);
        }
      }
    }
  }
}

TEST_CASE("A deployed ConvBN agrees with PyTorch") {
  const Json golden = read_golden("conv_bn.json");
  for (const DType dtype : kFloatingTypes) {
    const double tolerance = golden_tolerance(dtype);
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      const BlockCase block(one, dtype);
      const ConvBNTensors& t = block.tensors;
      const Json& expected = one.at("modes").at("deploy");
      FoldedConv folded = block.fold();
      CHECK(golden_error(folded.weight, expected.at("folded_weight")) <= tolerance);
      CHECK(golden_error(folded.bias, expected.at("folded_bias")) <= tolerance);
      folded.weight.set_requires_grad();
      folded.bias.set_requires_grad();
      const Tensor z = convolve(t.x, folded.weight, folded.bias, block.settings.convolution,
                                t.residual, block.settings.relu);
      CHECK(golden_error(z, expected.at("z")) <= tolerance);
      z.backward(block.seed);
      check_gradients({{"x", t.x},
                       {"folded_weight", folded.weight},
                       {"folded_bias", folded.bias},
                       {"residual", t.residual}},
                      expected, tolerance);
    }
  }
}

TEST_CASE("Cross-entropy agrees with PyTorch") {
  const Json golden = read_golden("cross_entropy.json");
  for (const DType dtype : kFloatingTypes) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      const Json& t = one.at("tensors");
      const Tensor logits = golden_leaf(t, "logits", dtype);
      const Tensor targets = golden_tensor(t.at("targets")).to(DType::int64);
      const Tensor loss = softmax_cross_entropy(logits, targets, one.at("smoothing"));
      CHECK(golden_error(loss, t.at("loss")) <= golden_tolerance(dtype));
      loss.backward();
      check_gradients({{"logits", logits}}, t, golden_tolerance(dtype));
    }
  }
}

TEST_CASE("Pooling agrees with PyTorch") {
  const Json golden = read_golden("pool.json");
  for (const DType dtype : kFloatingTypes) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      const Json& t = one.at("tensors");
      const Tensor x = golden_leaf(t, "x", dtype);
      const std::string kind = one.at("kind");
      Tensor y;
      if (kind == "global") {
        y = global_avg_pool(x);
      } else {
        const Pool2dOptions options{.window = pair(one.at("kernel")),
                                    .stride = pair(one.at("stride")),
                                    .padding = pair(one.at("padding"))};
        y = kind == "max" ? max_pool2d(x, options) : avg_pool2d(x, options);
      }
      CHECK(golden_error(y, t.at("y")) <= golden_tolerance(dtype));
      y.backward(golden_tensor(t.at("seed"), dtype));
      check_gradients({{"x", x}}, t, golden_tolerance(dtype));
    }
  }
}

}  // namespace attune::test
