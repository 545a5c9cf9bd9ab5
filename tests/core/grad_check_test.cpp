#include "attune/core/grad_check.h"

#include <cmath>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"
#include "tests/set_element.h"

namespace attune {
namespace {

using namespace test;

// y = x^2, whose backward can be made wrong.
struct Square final : Node {
  Square() : Node("square") {}

  Saved x;
  double factor = 2;
  std::int64_t wrong_element = -1;
  bool silent = false;

  void backward(Tensor grad) override {
    if (silent) return;
    Tensor grad_x = grad * factor * restore(x);
    if (wrong_element >= 0) add_to_element(grad_x, wrong_element, 1e-3);
    add_grad(0, grad_x);
  }
};

template <typename Spoil>
GradCheckResult check_square(const Spoil& spoil) {
  return grad_check(
      [&](const std::vector<Tensor>& in) {
        Tensor y = in[0].detach() * in[0].detach();
        if (auto node = record<Square>(y, in[0])) {
          node->x = node->save(in[0]);
          spoil(*node);
        }
        return y;
      },
      {random_tensor({2, 3}, 1, 0.5, 1.5)});
}

TEST_CASE("grad_check accepts a right gradient", "[grad_check]") {
  const GradCheckResult result = check_square([](Square&) {});
  CHECK(result.ok);
  CHECK(result.max_absolute_error <= 1e-9);
  CHECK(result.max_relative_error <= 1e-9);
  CHECK(contains(result.message, "gradients agree"));
}

TEST_CASE("grad_check rejects a wrong gradient", "[grad_check]") {
  SECTION("off by a factor") {
    const GradCheckResult result = check_square([](Square& node) { node.factor = 2.0001; });
    CHECK(!result.ok);
    CHECK(std::abs(result.max_relative_error - 5e-5) <= 1e-6);
    CHECK(contains(result.message, "gradients differ: input 0"));
  }
  SECTION("of the wrong sign") {
    CHECK(!check_square([](Square& node) { node.factor = -2; }).ok);
  }
  SECTION("wrong in one element, which is named") {
    const GradCheckResult result = check_square([](Square& node) { node.wrong_element = 4; });
    CHECK(!result.ok);
    CHECK(result.element == 4);
    CHECK(std::abs(result.analytic - result.numeric - 1e-3) <= 1e-8);
    CHECK(contains(result.message, "input 0, element 4"));
  }
  SECTION("missing") {
    CHECK(!check_square([](Square& node) { node.silent = true; }).ok);
    CHECK(!grad_check([](const auto& in) { return exp(in[0].detach()); }, {doubles({1})}).ok);
  }
  SECTION("NaN") {
    const GradCheckResult result = check_square([](Square& node) { node.factor = std::nan(""); });
    CHECK(!result.ok);
    CHECK(std::isnan(result.max_absolute_error));
    CHECK(std::isnan(result.max_relative_error));
  }
  SECTION("NaN in the function itself") {
    CHECK(!grad_check([](const auto& in) { return log(in[0]); }, {doubles({1, -1})}).ok);
  }
}

TEST_CASE("grad_check looks at all inputs", "[grad_check]") {
  const GradCheckResult result =
      grad_check([](const auto& in) { return in[0] * in[1] + in[2].detach(); },
                 {doubles({1, 2}), doubles({3, 4}), doubles({5, 6})});
  CHECK(!result.ok);
  CHECK(result.input == 2);
  // Undefined inputs are passed on.
  check_gradient([](const auto& in) { return linear(in[0], in[1], in[2]); },
                 {random_tensor({2, 3}, 1), random_tensor({4, 3}, 2), Tensor()});
}

TEST_CASE("grad_check is not fooled by a sum without gradient", "[grad_check]") {
  // softmax: the sum of the outputs is constant.
  const auto softmax = [](const Tensor& x) { return exp(x) / sum(exp(x)); };
  check_gradient([&](const auto& in) { return softmax(in[0]); }, {doubles({1, 2, 3})});
  CHECK(!grad_check([&](const auto& in) { return softmax(in[0]).detach(); }, {doubles({1, 2, 3})})
             .ok);
}

TEST_CASE("grad_check leaves its inputs as they were", "[grad_check]") {
  Tensor parameter = random_tensor({3}, 1).set_requires_grad();
  const Tensor plain = random_tensor({3}, 2);
  parameter.set_grad(doubles({7, 8, 9}));
  const auto values = parameter.to_vector<double>(), others = plain.to_vector<double>();
  // A parameter may also be reached behind f's back, as a layer does.
  check_gradient([&](const auto& in) { return parameter * in[1]; }, {parameter, plain});
  CHECK(parameter.to_vector<double>() == values);
  CHECK(plain.to_vector<double>() == others);
  CHECK(parameter.grad().to_vector<double>() == std::vector<double>{7, 8, 9});
  CHECK(!plain.requires_grad());

  int calls = 0;
  CHECK_THROWS_AS(grad_check(
                      [&](const auto& in) {
                        if (++calls == 4) throw Error("in the middle");
                        return in[0] * 2;
                      },
                      {parameter}),
                  Error);
  CHECK(parameter.to_vector<double>() == values);
  CHECK(parameter.grad().to_vector<double>() == std::vector<double>{7, 8, 9});
  CHECK(grad_enabled());
}

TEST_CASE("grad_check refuses what it cannot judge", "[grad_check][error]") {
  const auto twice = [](const std::vector<Tensor>& in) { return in[0] * 2; };
  CHECK(error_message([&] { grad_check(twice, {Tensor::ones({2})}); }) ==
        "grad_check: input 0 must be float64 and hold elements, but is float32 [2] on cpu");
  CHECK(error_message([&] {
          grad_check(twice, {Tensor::ones({2}, DType::float64, Device::meta)});
        }) == "grad_check: input 0 must be float64 and hold elements, but is float64 [2] on meta");
  const Tensor computed = doubles({1}).set_requires_grad() * 2;
  CHECK(error_message([&] { grad_check(twice, {computed}); }) ==
        "grad_check: input 0 is not a leaf; pass its detach()");
  CHECK(error_message([&] {
          grad_check([](const auto&) { return Tensor::ones({2}); }, {doubles({1})});
        }) == "grad_check: the output must be float64, but is float32 [2] on cpu");
  Generator generator{1, 0};
  CHECK(error_message([&] {
          grad_check([&](const auto& in) { return dropout(in[0], 0.5, generator); },
                     {random_tensor({64}, 1)});
        }) == "grad_check: two calls with the same inputs gave different outputs");
}

}  // namespace
}  // namespace attune
