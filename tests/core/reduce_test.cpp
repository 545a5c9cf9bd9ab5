#include "attune/core/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

using Axes = std::vector<std::int64_t>;

struct Case {
  Shape shape;
  Axes axes;
  Shape result;    // without the reduced axes
  Shape keepdims;  // with extents of 1
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {{}, {}, {}, {}},
      {{5}, {}, {}, {1}},
      {{5}, {0}, {}, {1}},
      {{5}, {-1}, {}, {1}},
      {{2, 3}, {}, {}, {1, 1}},
      {{2, 3}, {0}, {3}, {1, 3}},
      {{2, 3}, {1}, {2}, {2, 1}},
      {{2, 3, 4}, {1}, {2, 4}, {2, 1, 4}},
      {{2, 3, 4}, {0, 1}, {4}, {1, 1, 4}},
      {{2, 3, 4}, {-1, -2}, {2}, {2, 1, 1}},
      {{2, 3, 4}, {0, 2}, {3}, {1, 3, 1}},
      {{2, 3, 4}, {2, 0}, {3}, {1, 3, 1}},
      {{2, 3, 2, 4}, {0, 1, 2}, {4}, {1, 1, 1, 4}},
      {{2, 3, 2, 4}, {0, 2}, {3, 4}, {1, 3, 1, 4}},
      {{2, 3, 2, 4}, {1, 3}, {2, 2}, {2, 1, 2, 1}},
      {{2, 1, 3, 1, 2, 2}, {0, 2, 5}, {1, 1, 2}, {1, 1, 1, 1, 2, 1}},
      {{1, 1}, {0}, {1}, {1, 1}},
  };
  return all;
}

// The elements that each element of the result is made of, in row-major order.
std::vector<std::vector<double>> groups(const Tensor& x, const Shape& keepdims) {
  std::map<Index, std::vector<double>> found;
  for_each_index(x.shape(), [&](const Index& index) {
    Index kept = index;
    for (std::size_t axis = 0; axis < kept.size(); ++axis) {
      kept[axis] = std::min(kept[axis], keepdims.begin()[axis] - 1);
    }
    found[kept].push_back(at(x, index));
  });
  std::vector<std::vector<double>> result;
  for (auto& [index, values] : found) result.push_back(values);
  return result;
}

template <typename F>
Tensor naive(const Tensor& x, const Case& c, bool keepdims, const F& reduce) {
  std::vector<double> values;
  for (const auto& group : groups(x, c.keepdims)) values.push_back(reduce(group));
  return Tensor::from(values, keepdims ? c.keepdims : c.result);
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

TEST_CASE("sum, mean and max reduce any axes", "[reduce]") {
  for (const Case& c : cases()) {
    for (const bool keepdims : {false, true}) {
      INFO(to_string(c.shape) << " to " << to_string(c.result) << " keepdims " << keepdims);
      const Tensor x = random_tensor(c.shape, 1);
      const Tensor sums = naive(x, c, keepdims, total);
      const Tensor means = naive(x, c, keepdims, [](const auto& values) {
        return total(values) / static_cast<double>(values.size());
      });
      const Tensor maxima = naive(x, c, keepdims, [](const auto& values) {
        return *std::max_element(values.begin(), values.end());
      });
      CHECK(error_of(sum(x, c.axes, keepdims), sums) <= 1e-14);
      CHECK(error_of(mean(x, c.axes, keepdims), means) <= 1e-14);
      CHECK(error_of(max(x, c.axes, keepdims), maxima) <= 0);
      const Tensor in_float = x.to(DType::float32);
      CHECK(error_of(sum(in_float, c.axes, keepdims), sums) <= 1e-5);
      CHECK(error_of(mean(in_float, c.axes, keepdims), means) <= 1e-5);
      CHECK(error_of(max(in_float, c.axes, keepdims), maxima) <= 1e-7);
    }
  }
}

TEST_CASE("gradients of reductions agree with finite differences", "[reduce]") {
  for (const Case& c : cases()) {
    for (const bool keepdims : {false, true}) {
      INFO(to_string(c.shape) << " to " << to_string(c.result) << " keepdims " << keepdims);
      const Tensor x = distinct_tensor(c.shape, 2);
      for (const auto& reduce : {sum, mean, max}) {
        check_gradient([&](const auto& in) { return reduce(in[0], c.axes, keepdims); }, {x});
        // Gradients that meet.
        check_gradient(
            [&](const auto& in) {
              const Tensor y = in[0] * 1;
              return y * reduce(y, c.axes, true) + reduce(y, c.axes, true);
            },
            {x});
      }
    }
  }
}

TEST_CASE("empty axes sum to zero and have no maximum", "[reduce]") {
  const Tensor x = Tensor::zeros({2, 0}, DType::float64);
  CHECK(sum(x, {1}).to_vector<double>() == std::vector<double>{0, 0});
  CHECK(sum(x).item() == 0);
  CHECK(std::isnan(mean(x).item()));
  CHECK(max(x, {0}).shape() == Shape{0});
  CHECK(error_message([&] { max(x, {1}); }) ==
        "max: nothing to choose from in float64 [2, 0] on cpu");
  CHECK(error_message([&] { argmax(x, 1); }) ==
        "argmax: nothing to choose from in float64 [2, 0] on cpu");
  check_gradient([](const auto& in) { return sum(in[0], {1}); }, {x});
}

TEST_CASE("a sum of many float numbers keeps its digits", "[reduce]") {
  const Tensor x = Tensor::full({1 << 20}, 0.1);
  const double exact = static_cast<double>(0.1f) * (1 << 20);
  CHECK(std::abs(sum(x).item() - exact) <= exact * 1e-7);
}

TEST_CASE("the first of equal maxima is chosen, and takes the gradient", "[reduce]") {
  Tensor x = Tensor::from(std::vector<double>{1, 3, 3, 2, 5, 5}, {2, 3});
  x.set_requires_grad();
  CHECK(argmax(x, 1).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 1});
  CHECK(argmax(x, -2).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 1, 1});
  CHECK(argmax(x, 1).dtype() == DType::int64);
  CHECK(argmax(x, 1, true).shape() == Shape{2, 1});
  CHECK(!argmax(x, 1).requires_grad());
  max(x, {1}).backward(doubles({1, 1}));
  CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 1, 0, 0, 1, 0});
}

TEST_CASE("a NaN is the maximum", "[reduce]") {
  const double nan = std::nan("");
  const Tensor x = doubles({1, nan, std::numeric_limits<double>::infinity(), nan});
  CHECK(std::isnan(max(x).item()));
  CHECK(argmax(x, 0).item() == 1);
}

TEST_CASE("reductions keep next to nothing", "[reduce][memory]") {
  Tensor x = random_tensor({8, 5}, 3);
  x.set_requires_grad();
  CHECK(saved_bytes(sum(x)) == 0);
  CHECK(saved_bytes(mean(x, {0})) == 0);
  CHECK(saved_bytes(max(x, {1})) == 8 * 8);  // one int64 a row
}

TEST_CASE("reductions refuse axes that do not exist", "[reduce][error]") {
  const Tensor x = Tensor::ones({2, 3});
  CHECK(error_message([&] { sum(x, {2}); }) == "sum: float32 [2, 3] on cpu has no axis 2");
  CHECK(error_message([&] { mean(x, {-3}); }) == "mean: float32 [2, 3] on cpu has no axis -3");
  CHECK(error_message([&] {
          max(x, {0, -2});
        }) == "max: axes (0, -2) name axis 0 of float32 [2, 3] on cpu twice");
  CHECK(error_message([&] { argmax(x, 5); }) == "argmax: float32 [2, 3] on cpu has no axis 5");
  CHECK(error_message([&] { sum(Tensor()); }) == "sum: input is undefined");
  CHECK(error_message([&] { sum(Tensor::ones({2}, DType::int64)); }) ==
        "sum: needs float32 or float64, not int64");
}

}  // namespace
}  // namespace attune
