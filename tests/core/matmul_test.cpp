#include "attune/core/ops/matmul.h"

#include <array>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/linear.h"
#include "attune/core/ops/unary.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

Tensor naive_matmul(const Tensor& a, const Tensor& b) {
  return build({a.size(0), b.size(1)}, [&](const Index& i) {
    double sum = 0;
    for (std::int64_t k = 0; k < a.size(1); ++k) sum += at(a, {i[0], k}) * at(b, {k, i[1]});
    return sum;
  });
}

const std::vector<std::array<std::int64_t, 3>> kSizes{{1, 1, 1}, {2, 3, 4}, {5, 1, 3}, {1, 6, 1},
                                                      {0, 3, 2}, {2, 0, 3}, {2, 3, 0}, {9, 8, 7}};

TEST_CASE("matmul multiplies matrices", "[matmul]") {
  for (const auto& [m, k, n] : kSizes) {
    INFO(m << " x " << k << " x " << n);
    const Tensor a = random_tensor({m, k}, 1), b = random_tensor({k, n}, 2);
    const Tensor expected = naive_matmul(a, b);
    CHECK(error_of(matmul(a, b), expected) <= 1e-14);
    CHECK(error_of(matmul(a.to(DType::float32), b.to(DType::float32)), expected) <= 1e-5);
    check_gradient([](const auto& in) { return matmul(in[0], in[1]); }, {a, b});
  }
  // One tensor on both sides, and gradients that meet others.
  check_gradient([](const auto& in) { return matmul(in[0], in[0]); }, {random_tensor({3, 3}, 3)});
  check_gradient(
      [](const auto& in) {
        const Tensor x = exp(in[0]);
        return matmul(x, matmul(x, x)) + x;
      },
      {random_tensor({3, 3}, 4)});
}

TEST_CASE("linear applies a weight and a bias", "[linear]") {
  for (const auto& [rows, in, out] : kSizes) {
    INFO(rows << " x " << in << " x " << out);
    const Tensor x = random_tensor({rows, in}, 5), w = random_tensor({out, in}, 6),
                 b = random_tensor({out}, 7);
    const Tensor product = build({rows, out}, [&, k_end = in](const Index& i) {
      double sum = 0;
      for (std::int64_t k = 0; k < k_end; ++k) sum += at(x, {i[0], k}) * at(w, {i[1], k});
      return sum;
    });
    CHECK(error_of(linear(x, w), product) <= 1e-14);
    CHECK(error_of(linear(x, w, b), product + b) <= 1e-14);
    const Tensor in_float =
        linear(x.to(DType::float32), w.to(DType::float32), b.to(DType::float32));
    CHECK(error_of(in_float, product + b) <= 1e-5);
    check_gradient([](const auto& t) { return linear(t[0], t[1], t[2]); }, {x, w, b});
    check_gradient([](const auto& t) { return linear(t[0], t[1]); }, {x, w});
  }
  // One weight used twice.
  check_gradient([](const auto& t) { return linear(tanh(linear(t[0], t[1], t[2])), t[1], t[2]); },
                 {random_tensor({2, 3}, 8), random_tensor({3, 3}, 9), random_tensor({3}, 10)});
}

TEST_CASE("products keep only what a gradient needs", "[matmul][linear][memory]") {
  const Tensor x = random_tensor({4, 3}, 11), w = random_tensor({2, 3}, 12),
               b = random_tensor({2}, 13);
  const auto wanting = [](const Tensor& tensor) { return tensor.clone().set_requires_grad(); };
  CHECK(saved_bytes(linear(wanting(x), w, b)) == w.bytes());
  CHECK(saved_bytes(linear(x, wanting(w), b)) == x.bytes());
  CHECK(saved_bytes(linear(x, w, wanting(b))) == 0);
  CHECK(saved_bytes(linear(wanting(x), wanting(w), b)) == x.bytes() + w.bytes());
  const Tensor c = random_tensor({3, 2}, 14);
  CHECK(saved_bytes(matmul(wanting(x), c)) == c.bytes());
  CHECK(saved_bytes(matmul(x, wanting(c))) == x.bytes());
}

TEST_CASE("products refuse shapes that do not fit", "[matmul][linear][error]") {
  const Tensor x = Tensor::ones({4, 3});
  CHECK(error_message([&] { matmul(x, x); }) ==
        "matmul: [4, 3] and [4, 3] do not share the inner extent");
  CHECK(error_message([&] { matmul(x, Tensor::ones({3})); }) ==
        "matmul: the right operand must have 2 dimensions, but is float32 [3] on cpu");
  CHECK(error_message([&] { matmul(Tensor(), x); }) ==
        "matmul: the left operand must have 2 dimensions, but is an undefined tensor");
  CHECK(error_message([&] {
          linear(x, Tensor::ones({2, 4}));
        }) == "linear: input [4, 3] does not fit weight [2, 4] (out, in)");
  CHECK(error_message([&] {
          linear(x, Tensor::ones({2, 3}), Tensor::ones({3}));
        }) == "linear: bias [3] does not fit weight [2, 3] (out, in)");
  CHECK(error_message([&] {
          linear(x, Tensor::ones({2, 3}, DType::float64));
        }) == "linear: float32 [4, 3] on cpu and float64 [2, 3] on cpu do not go together");
  CHECK(error_message([&] {
          linear(Tensor::ones({3}), Tensor::ones({2, 3}));
        }) == "linear: input must have 2 dimensions, but is float32 [3] on cpu");
}

}  // namespace
}  // namespace attune
