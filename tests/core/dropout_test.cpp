#include "attune/core/ops/dropout.h"

#include <cmath>
#include <vector>

#include "attune/core/device.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

TEST_CASE("dropout drops the right share and scales the rest", "[dropout]") {
  const std::int64_t count = 100'000;
  for (const double p : {0.0, 0.1, 0.5, 0.9}) {
    INFO(p);
    Generator generator{7, 0};
    const Tensor y = dropout(Tensor::ones({count}, DType::float64), p, generator);
    std::int64_t dropped = 0;
    for (const double value : y.to_vector<double>()) {
      dropped += value == 0;
      REQUIRE((value == 0 || value == 1 / (1 - p)));
    }
    // Five standard deviations of a binomial count.
    const double deviation = std::sqrt(static_cast<double>(count) * p * (1 - p));
    CHECK(std::abs(static_cast<double>(dropped) - p * static_cast<double>(count)) <= 5 * deviation);
  }
}

TEST_CASE("dropout is a function of the generator alone", "[dropout]") {
  const Tensor x = Tensor::ones({10'001});
  Generator first{3, 0}, second{3, 0};
  const Tensor a = dropout(x, 0.5, first);
  CHECK(a.to_vector<float>() == dropout(x, 0.5, second).to_vector<float>());
  CHECK(a.to_vector<float>() != dropout(x, 0.5, second).to_vector<float>());
  CHECK(second.uses == 2);

  const int threads = num_threads();
  for (const int count : {1, 3}) {
    set_num_threads(count);
    Generator again{3, 0};
    CHECK(a.to_vector<float>() == dropout(x, 0.5, again).to_vector<float>());
  }
  set_num_threads(threads);
}

TEST_CASE("backward of dropout draws the same mask again", "[dropout]") {
  for (const std::int64_t count : {1, 6, 5000}) {
    Generator generator{4, 9};
    Tensor x = Tensor::ones({count}, DType::float64).set_requires_grad();
    const Tensor y = dropout(x, 0.3, generator);
    dropout(x, 0.3, generator);  // a later use must not matter
    y.backward(Tensor::full({count}, 2, DType::float64));
    CHECK(error_of(x.grad(), y.detach() * 2) <= 0);
  }
  const auto f = [](const std::vector<Tensor>& in) {
    Generator generator{5, 0};
    const Tensor x = in[0] * 1;
    return dropout(x, 0.5, generator) + dropout(x, 0.25, generator) * x;
  };
  check_gradient(f, {random_tensor({3, 7}, 1)});
  // A gradient that others hold must not be masked in place.
  check_gradient(
      [](const auto& in) {
        Generator generator{6, 0};
        return dropout(in[0] * 2, 0.5, generator) + in[0] * 3;
      },
      {random_tensor({3, 7}, 2)});
}

TEST_CASE("dropout keeps nothing", "[dropout][memory]") {
  Generator generator{1, 0};
  CHECK(saved_bytes(dropout(Tensor::ones({100}).set_requires_grad(), 0.5, generator)) == 0);
}

TEST_CASE("dropout refuses probabilities out of range", "[dropout][error]") {
  Generator generator{1, 0};
  const Tensor x = Tensor::ones({2});
  CHECK(error_message([&] { dropout(x, 1, generator); }) == "dropout: p must be in [0, 1), not 1");
  CHECK(error_message([&] { dropout(x, -0.5, generator); }) ==
        "dropout: p must be in [0, 1), not -0.5");
  CHECK(error_message([&] { dropout(x, std::nan(""), generator); }) ==
        "dropout: p must be in [0, 1), not nan");
  CHECK(error_message([&] { dropout(Tensor(), 0.5, generator); }) == "dropout: input is undefined");
  CHECK(generator.uses == 0);
}

}  // namespace
}  // namespace attune
