// conv2d and conv_transpose2d as differentiable operations. The arithmetic itself is tested with
// the kernels.

#include "attune/core/ops/conv2d.h"

#include <cmath>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/grad_check.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/reduce.h"
#include "attune/core/random.h"
#include "tests/catch.h"

using namespace attune;

TEST_CASE("conv2d gradients agree with finite differences", "[conv2d]") {
  Generator generator{2, 0};
  const auto normal = [&](const Shape& shape) {
    return random_normal(shape, 0, 1, generator, DType::float64);
  };
  const Conv2dOptions options{.stride = {2, 1}, .padding = {1, 0}, .dilation = {1, 2}, .groups = 2};
  const auto f = [&](const std::vector<Tensor>& in) {
    return conv2d(in[0], in[1], in[2], options, in[3]);
  };
  const Tensor x = normal({2, 5, 7, 4});
  const Tensor w = normal({6, 3, 2, 2});
  const Tensor y = conv2d(x, w, {}, options);
  const auto result = grad_check(f, {x, w, normal({6}), normal(y.shape())});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("conv_transpose2d gradients agree with finite differences", "[conv2d]") {
  Generator generator{3, 0};
  const auto normal = [&](const Shape& shape) {
    return random_normal(shape, 0, 1, generator, DType::float64);
  };
  const Conv2dOptions options{.stride = {2, 3}, .padding = {1, 1}, .groups = 2};
  const auto f = [&](const std::vector<Tensor>& in) {
    return conv_transpose2d(in[0], in[1], in[2], options, {1, 2});
  };
  const auto result = grad_check(f, {normal({2, 3, 4, 4}), normal({4, 3, 3, 3}), normal({6})});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("a fused ReLU has the gradient of a separate one, however consumers mask", "[conv2d]") {
  Generator generator{4, 0};
  const Tensor x = random_normal({2, 6, 6, 3}, 0, 1, generator);
  const Tensor first = random_normal({4, 3, 3, 3}, 0, 0.5, generator);
  const Tensor second = random_normal({5, 3, 3, 4}, 0, 0.5, generator);
  const Tensor third = random_normal({2, 1, 1, 4}, 0, 0.5, generator);
  const auto gradient = [&](bool freeze_second, bool reverse) {
    Tensor w = first.detach().set_requires_grad();
    Tensor w2 = second.detach().set_requires_grad(!freeze_second);
    Tensor w3 = third.detach().set_requires_grad();
    const Tensor hidden = conv2d(x, w, {}, {.padding = {1, 1}}, {}, /*relu=*/true);
    // Two consumers: one may mask its contribution, the other may not (its filter is frozen, so it
    // keeps nothing to mask with); they come in either order.
    Tensor a;
    Tensor b;
    if (reverse) {
      b = conv2d(hidden, w3);
      a = conv2d(hidden, w2, {}, {.padding = {1, 1}});
    } else {
      a = conv2d(hidden, w2, {}, {.padding = {1, 1}});
      b = conv2d(hidden, w3);
    }
    Generator seeds{9, 0};
    const Tensor seed_a = random_normal(a.shape(), 0, 1, seeds);
    const Tensor seed_b = random_normal(b.shape(), 0, 1, seeds);
    (sum(a * seed_a) + sum(b * seed_b)).backward();
    return w.grad().to_vector<double>();
  };
  const auto expected = gradient(false, false);
  for (const bool freeze : {false, true}) {
    for (const bool reverse : {false, true}) {
      const auto actual = gradient(freeze, reverse);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        REQUIRE(!(std::abs(actual[i] - expected[i]) > 1e-3));
      }
    }
  }
}

TEST_CASE("conv2d keeps x only for the filter's gradient", "[conv2d][memory]") {
  Tensor x = Tensor::zeros({1, 4, 4, 2});
  Tensor w = Tensor::zeros({3, 3, 3, 2});
  w.storage().set_purpose(MemoryPurpose::parameter);
  w.set_requires_grad();
  CHECK(saved_bytes(conv2d(x, w)) == x.bytes());
  x.set_requires_grad();
  w.set_requires_grad(false);
  CHECK(saved_bytes(conv2d(x, w)) == 0);
}
