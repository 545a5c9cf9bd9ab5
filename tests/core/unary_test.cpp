#include "attune/core/ops/unary.h"

#include <cmath>
#include <limits>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

struct Function {
  const char* name;
  Tensor (*apply)(const Tensor&);
  double (*formula)(double);
  double low, high;  // where to test it
};

const std::vector<Function>& functions() {
  static const std::vector<Function> all{
      {"exp", exp, [](double x) { return std::exp(x); }, -2, 2},
      {"log", log, [](double x) { return std::log(x); }, 0.2, 3},
      {"sqrt", sqrt, [](double x) { return std::sqrt(x); }, 0.2, 3},
      {"abs", abs, [](double x) { return std::abs(x); }, -2, 2},
      {"relu", relu, [](double x) { return x > 0 ? x : 0; }, -2, 2},
      {"relu6", relu6, [](double x) { return x > 6   ? 6
                                             : x > 0 ? x
                                                     : 0; }, -3, 9},
      {"sigmoid", sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -3, 3},
      {"tanh", tanh, [](double x) { return std::tanh(x); }, -2, 2},
      {"negate", negate, [](double x) { return -x; }, -2, 2},
  };
  return all;
}

TEST_CASE("functions follow their formulas", "[unary]") {
  for (const Function& f : functions()) {
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{2, 3, 4}, Shape{0, 3}, Shape{5000}}) {
      INFO(f.name << " " << to_string(shape));
      const Tensor x = random_tensor(shape, 1, f.low, f.high);
      const Tensor expected = build(shape, [&](const Index& i) { return f.formula(at(x, i)); });
      if (shape.count() > 1000) continue;
      CHECK(error_of(f.apply(x), expected) <= 1e-15);
      CHECK(error_of(f.apply(x.to(DType::float32)), expected) <= 1e-6);
    }
  }
}

TEST_CASE("gradients of functions agree with finite differences", "[unary]") {
  for (const Function& f : functions()) {
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{2, 3, 4}, Shape{0, 3}}) {
      INFO(f.name << " " << to_string(shape));
      check_gradient([&](const auto& in) { return f.apply(in[0]); },
                     {random_tensor(shape, 2, f.low, f.high)});
      // Twice in one graph, so that gradients meet.
      check_gradient(
          [&](const auto& in) {
            const Tensor x = in[0] * 1;
            return f.apply(x) * x + f.apply(x);
          },
          {random_tensor(shape, 3, f.low, f.high)});
    }
  }
}

TEST_CASE("pow raises to constant powers", "[unary]") {
  for (const double exponent : {-2.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0}) {
    INFO(exponent);
    const Tensor x = random_tensor({3, 4}, 4, 0.3, 2);
    const Tensor expected =
        build(x.shape(), [&](const Index& i) { return std::pow(at(x, i), exponent); });
    CHECK(error_of(pow(x, exponent), expected) <= 1e-15);
    check_gradient([&](const auto& in) { return pow(in[0], exponent); }, {x});
  }
  check_gradient([](const auto& in) { return pow(in[0], 2); }, {random_tensor({3, 4}, 5)});
}

TEST_CASE("derivatives at the special points are defined", "[unary]") {
  const auto derivative_at = [](double x, const auto& f) {
    Tensor leaf = Tensor::scalar(x, DType::float64);
    leaf.set_requires_grad();
    f(leaf).backward();
    return leaf.grad().item();
  };
  CHECK(derivative_at(0, relu) == 0);
  CHECK(derivative_at(0, relu6) == 0);
  CHECK(derivative_at(6, relu6) == 0);
  CHECK(derivative_at(5.75, relu6) == 1);
  CHECK(derivative_at(0, abs) == 0);
  CHECK(derivative_at(0, [](const Tensor& x) { return pow(x, 0); }) == 0);
  CHECK(derivative_at(0, [](const Tensor& x) { return pow(x, 1); }) == 1);
  CHECK(derivative_at(0, [](const Tensor& x) { return pow(x, 2); }) == 0);
  CHECK(derivative_at(0, sqrt) == std::numeric_limits<double>::infinity());
  CHECK(std::isnan(relu(doubles({std::nan("")})).item()));
  CHECK(std::isnan(relu6(doubles({std::nan("")})).item()));
}

TEST_CASE("sigmoid neither overflows nor loses its gradient", "[unary]") {
  Tensor x = doubles({-1000, 1000, 0});
  x.set_requires_grad();
  const Tensor y = sigmoid(x);
  CHECK(y.to_vector<double>() == std::vector<double>{0, 1, 0.5});
  y.backward(Tensor::ones({3}, DType::float64));
  CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0, 0.25});
}

TEST_CASE("functions keep their output or their input, once", "[unary][memory]") {
  Tensor x = random_tensor({2, 3}, 6, 0.5, 2);
  for (const Function& f : functions()) CHECK(saved_bytes(f.apply(x)) == 0);
  x.set_requires_grad();
  for (const auto& f : {exp, sqrt, relu, relu6, sigmoid, tanh}) {  // the output, not x
    const Tensor y = f(x);
    CHECK(saved_bytes(y) == x.bytes());
    CHECK(saved_bytes(y, {x}) == x.bytes());
    CHECK(saved_bytes(y, {y}) == 0);
  }
  for (const auto& f : {log, abs}) {  // x
    CHECK(saved_bytes(f(x)) == x.bytes());
    CHECK(saved_bytes(f(x), {x}) == 0);
  }
  CHECK(saved_bytes(pow(x, 3), {x}) == 0);
}

TEST_CASE("functions refuse what they cannot take", "[unary][error]") {
  const Tensor labels = Tensor::zeros({2}, DType::int64);
  CHECK(error_message([&] { exp(labels); }) == "exp: needs float32 or float64, not int64");
  CHECK(error_message([&] { pow(labels, 2); }) == "pow: needs float32 or float64, not int64");
  CHECK(error_message([&] { relu(Tensor()); }) == "relu: input is undefined");
  CHECK(error_message([&] { relu6(labels); }) == "relu6: needs float32 or float64, not int64");
  CHECK(error_message([&] { pow(Tensor(), 2); }) == "pow: input is undefined");
}

}  // namespace
}  // namespace attune
