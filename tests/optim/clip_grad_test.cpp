#include "attune/optim/clip_grad.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/golden.h"
#include "tests/optim/optim_test.h"

namespace attune::test {
namespace {

using Values = std::vector<double>;

// Two parameters with gradients {3, 0} and {4}, whose norm is 5, and one without.
std::vector<Tensor> three_parameters(DType dtype = DType::float64) {
  std::vector<Tensor> params{parameter({2}, 1, dtype), parameter({1}, 2, dtype),
                             parameter({3}, 3, dtype)};
  params[0].set_grad(Tensor::from(Values{3, 0}, {2}).to(dtype));
  params[1].set_grad(Tensor::from(Values{4}, {1}).to(dtype));
  return params;
}

}  // namespace

TEST_CASE("Gradients are clipped as PyTorch clips them") {
  const Json golden = read_golden("clip_grad.json");
  for (const DType dtype : {DType::float64, DType::float32}) {
    const double tolerance = dtype == DType::float64 ? 1e-14 : 1e-6;
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("kind") << " " << one.at("limit") << ", " << to_string(dtype));
      std::vector<Tensor> params;
      for (const Json& before : one.at("before")) {
        const Tensor grad = golden_tensor(before, dtype);
        params.push_back(Tensor::zeros(grad.shape(), dtype).set_requires_grad());
        params.back().set_grad(grad);
      }
      params.push_back(parameter({2}, 1, dtype));
      if (one.at("kind") == "norm") {
        const double norm = clip_grad_norm(params, one.at("limit"));
        CHECK(std::abs(norm / one.at("norm").get<double>() - 1) <= tolerance);
      } else {
        clip_grad_value(params, one.at("limit"));
      }
      for (std::size_t i = 0; i < 2; ++i) {
        CHECK(golden_error(params[i].grad(), one.at("after").at(i)) <= tolerance);
      }
      CHECK(!params[2].grad().defined());
    }
  }
}

TEST_CASE("The norm is that of all gradients together") {
  const std::vector<Tensor> params = three_parameters(DType::float32);
  CHECK(grad_norm(params) == 5);
  CHECK(clip_grad_norm(params, 5.1) == 5);
  CHECK(params[0].grad().to_vector<double>() == Values{3, 0});
  CHECK(clip_grad_norm(params, 1) == 5);
  CHECK(std::abs(grad_norm(params) - 1) <= 1e-6);
  CHECK(std::abs(params[1].grad().item() - 0.8) <= 1e-6);
  CHECK(grad_norm({}) == 0);
}

TEST_CASE("A norm that is not finite is an error where wanted, and changes nothing then") {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), infinity}) {
    std::vector<Tensor> params = three_parameters();
    params[1].set_grad(Tensor::full({1}, bad, DType::float64));
    CHECK(contains(error_of([&] { clip_grad_norm(params, 1, true); }),
                   "clip_grad_norm: the norm of the gradients is"));
    CHECK(params[0].grad().to_vector<double>() == Values{3, 0});
    CHECK(!std::isfinite(clip_grad_norm(params, 1)));
    CHECK(std::isnan(params[1].grad().item()));
  }
}

TEST_CASE("Clipping by value keeps NaN and limits the rest") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Tensor w = parameter({4}, 1);
  w.set_grad(Tensor::from(Values{-3, 0.25, nan, 3}, {4}));
  clip_grad_value({w}, 0.5);
  const Values clipped = w.grad().to_vector<double>();
  CHECK(clipped[0] == -0.5);
  CHECK(clipped[1] == 0.25);
  CHECK(std::isnan(clipped[2]));
  CHECK(clipped[3] == 0.5);
}

TEST_CASE("Clipping refuses bad arguments") {
  const std::vector<Tensor> params = three_parameters();
  REQUIRE_THROWS_AS(clip_grad_norm(params, 0), Error);
  REQUIRE_THROWS_AS(clip_grad_norm(params, std::numeric_limits<double>::quiet_NaN()), Error);
  REQUIRE_THROWS_AS(clip_grad_value(params, -1), Error);
  CHECK(contains(error_of([&] {
                   clip_grad_norm({params[0], params[0]}, 1);
                 }),
                 "the gradient of float64 [2] on cpu is listed twice"));
  REQUIRE_THROWS_AS(clip_grad_value({params[0], params[0]}, 1), Error);
}

}  // namespace attune::test
