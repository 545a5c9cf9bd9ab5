#include "attune/core/ops/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

Tensor targets_of(const std::vector<std::int64_t>& targets) {
  return Tensor::from(targets, {static_cast<std::int64_t>(targets.size())});
}

// - sum over classes of q log(p), averaged over the rows.
double naive_loss(const Tensor& logits, const std::vector<std::int64_t>& targets,
                  double smoothing) {
  const std::int64_t classes = logits.size(1);
  double loss = 0;
  for (std::int64_t row = 0; row < logits.size(0); ++row) {
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(at(logits, {row, c}));
    for (std::int64_t c = 0; c < classes; ++c) {
      const bool hit = targets[static_cast<std::size_t>(row)] == c;
      const double q = (hit ? 1 - smoothing : 0) + smoothing / static_cast<double>(classes);
      loss -= q * std::log(std::exp(at(logits, {row, c})) / sum);
    }
  }
  return loss / static_cast<double>(logits.size(0));
}

TEST_CASE("softmax cross-entropy follows the formula", "[softmax_cross_entropy]") {
  const std::vector<std::int64_t> targets{2, 0, 4, 4};
  const Tensor logits = random_tensor({4, 5}, 1, -3, 3);
  for (const double smoothing : {0.0, 0.1, 0.9}) {
    INFO(smoothing);
    const double expected = naive_loss(logits, targets, smoothing);
    const Tensor loss = softmax_cross_entropy(logits, targets_of(targets), smoothing);
    CHECK(loss.shape() == Shape{});
    CHECK(std::abs(loss.item() - expected) <= 1e-14);
    const Tensor in_float =
        softmax_cross_entropy(logits.to(DType::float32), targets_of(targets), smoothing);
    CHECK(std::abs(in_float.item() - expected) <= 1e-6);
    check_gradient(
        [&](const auto& in) {
          return softmax_cross_entropy(in[0], targets_of(targets), smoothing);
        },
        {logits});
    check_gradient(
        [&](const auto& in) {
          const Tensor x = in[0] * 2;
          return softmax_cross_entropy(x, targets_of(targets), smoothing) * x + x;
        },
        {logits});
  }
  check_gradient([](const auto& in) { return softmax_cross_entropy(in[0], targets_of({0})); },
                 {random_tensor({1, 1}, 2)});
}

TEST_CASE("softmax cross-entropy survives huge logits", "[softmax_cross_entropy]") {
  Tensor logits = Tensor::from(std::vector<double>{1000, 0, -1000, 1e300}, {2, 2});
  logits.set_requires_grad();
  const Tensor loss = softmax_cross_entropy(logits, targets_of({0, 1}));
  CHECK(loss.item() == 0);
  loss.backward();
  CHECK(logits.grad().to_vector<double>() == std::vector<double>{0, 0, 0, 0});
  CHECK(softmax_cross_entropy(logits.detach(), targets_of({1, 1})).item() == 500);
}

TEST_CASE("softmax cross-entropy keeps logits and targets", "[softmax_cross_entropy][memory]") {
  const Tensor logits = Tensor::ones({4, 10}).set_requires_grad();
  const Tensor targets = targets_of({1, 2, 3, 4});
  CHECK(saved_bytes(softmax_cross_entropy(logits, targets)) == 4 * 10 * 4 + 4 * 8);
  CHECK(saved_bytes(softmax_cross_entropy(logits.detach(), targets)) == 0);
}

TEST_CASE("softmax cross-entropy names what is wrong", "[softmax_cross_entropy][error]") {
  const Tensor logits = Tensor::ones({3, 10});
  const Tensor targets = targets_of({1, 2, 3});
  CHECK(error_message([&] {
          softmax_cross_entropy(logits, targets_of({1, 2, 10})).item();
        }) == "softmax_cross_entropy: the target of row 2 is 10, but there are 10 classes");
  CHECK(error_message([&] {
          softmax_cross_entropy(logits, targets_of({1, -1, 99})).item();
        }) == "softmax_cross_entropy: the target of row 1 is -1, but there are 10 classes");
  CHECK(error_message([&] {
          softmax_cross_entropy(logits, targets_of({1, 2}));
        }) == "softmax_cross_entropy: targets must be int64 [3] on cpu, but are int64 [2] on cpu");
  CHECK(error_message([&] { softmax_cross_entropy(logits, Tensor::ones({3})); }) ==
        "softmax_cross_entropy: targets must be int64 [3] on cpu, but are float32 [3] on cpu");
  CHECK(error_message([&] { softmax_cross_entropy(Tensor::ones({3}), targets); }) ==
        "softmax_cross_entropy: logits must have 2 dimensions, but is float32 [3] on cpu");
  CHECK(error_message([&] { softmax_cross_entropy(logits, Tensor()); }) ==
        "softmax_cross_entropy: targets must have 1 dimensions, but is an undefined tensor");
  CHECK(error_message([&] { softmax_cross_entropy(logits, targets, 1); }) ==
        "softmax_cross_entropy: label_smoothing must be in [0, 1), not 1");
  CHECK(error_message([&] {
          softmax_cross_entropy(Tensor::ones({0, 3}), targets_of({}));
        }) == "softmax_cross_entropy: logits float32 [0, 3] on cpu are empty");
  // Targets cannot be read on meta.
  const Tensor meta =
      softmax_cross_entropy(logits.to(Device::meta), targets_of({1, 2, 10}).to(Device::meta));
  CHECK(meta.device() == Device::meta);
}

}  // namespace
}  // namespace attune
