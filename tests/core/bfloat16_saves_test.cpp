// Tensors kept for backward as bfloat16: which ones, in how many bytes, and what that does to
// gradients.

#include <cmath>
#include <memory>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

// Of a number of 8 bits: half a unit in its last place.
constexpr double kRoundoff = 1.0 / 256;

Tensor floats(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1) {
  return random_tensor(shape, seed, low, high, DType::float32);
}

Tensor parameter(Tensor tensor) {
  tensor.storage().set_purpose(MemoryPurpose::parameter);
  return tensor.set_requires_grad();
}

const Conv2dOptions kSame{.padding = {1, 1}};

struct Block {
  Tensor x = floats({2, 6, 5, 4}, 1).set_requires_grad();
  Tensor first = parameter(floats({4, 3, 3, 4}, 2)), second = parameter(floats({3, 3, 3, 4}, 3));
  Tensor bias = parameter(floats({4}, 4));

  Tensor hidden() const { return conv2d(x, first, bias, kSame, {}, true); }
  Tensor output() const { return conv2d(hidden(), second, {}, kSame); }
};

std::vector<double> gradient(const Tensor& x) { return x.grad().to_vector<double>(); }

TEST_CASE("what convolutions get and ReLUs give is kept in half the bytes, once", "[bfloat16]") {
  const Block block;
  const std::int64_t image = block.x.bytes();  // as large as what the first convolution gives
  CHECK(saved_bytes(block.output()) == 2 * image);
  const Bfloat16Saves rounding;
  // x is a leaf, which the caller has in any case.
  CHECK(saved_bytes(block.output()) == image + image / 2);
  const Tensor hidden = block.hidden();
  const Tensor twice =
      conv2d(hidden, block.second, {}, kSame) + conv2d(hidden, block.second, {}, kSame);
  CHECK(saved_bytes(twice) == image + image / 2);
  {
    const Bfloat16Saves as_usual(false);
    CHECK(!Bfloat16Saves::on());
    CHECK(saved_bytes(block.output()) == 2 * image);
  }
  CHECK(Bfloat16Saves::on());
}

TEST_CASE("the elements that were rounded do not stay alive", "[bfloat16]") {
  const Block block;
  const Bfloat16Saves rounding;
  Tensor hidden = block.hidden();
  const std::weak_ptr<Storage> elements = hidden.shared_storage();
  const Tensor y = conv2d(hidden, block.second, {}, kSame);
  hidden = {};
  CHECK(elements.expired());
  sum(y).backward();
  CHECK(saved_bytes(y) == 0);
}

TEST_CASE("rounding changes no gradient but those of filters, and those as the bound says",
          "[bfloat16]") {
  const Block exact, rounded;
  const Tensor seed = floats({2, 6, 5, 3}, 5);
  exact.output().backward(seed);
  {
    const Bfloat16Saves rounding;
    rounded.output().backward(seed);
  }
  CHECK(gradient(rounded.x) == gradient(exact.x));
  CHECK(gradient(rounded.bias) == gradient(exact.bias));
  CHECK(gradient(rounded.first) == gradient(exact.first));  // of a leaf
  CHECK(gradient(rounded.second) != gradient(exact.second));

  // |error of dw| <= 2^-8 * sum |x| |dy|, and what the sums themselves are rounded by.
  Tensor filter = floats({3, 3, 3, 4}, 3).set_requires_grad();
  conv2d(exact.hidden().detach(), filter, {}, kSame).backward(abs(seed));
  const std::vector<double> bound = gradient(filter);
  const std::vector<double> found = gradient(rounded.second), wanted = gradient(exact.second);
  double largest = 0;
  for (std::size_t i = 0; i < bound.size(); ++i) {
    const double share = std::abs(found[i] - wanted[i]) / bound[i];
    CHECK(share <= kRoundoff + 1e-6);
    largest = std::max(largest, share);
  }
  CHECK(largest >= kRoundoff / 100);  // the bound is one of this error, not of any
}

TEST_CASE("a ReLU passes gradients where it did, however small its output", "[bfloat16]") {
  // The smallest float, some that a plain rounding would make zero, and one that it would not.
  const std::vector<float> values{0, 1e-45F, 1e-41F, 4e-41F, 1e-38F, -1e-45F, 1, 0};
  const auto mask = [&](bool round) {
    const Bfloat16Saves rounding(round);
    Tensor x = Tensor::from(values, {1, 1, 2, 4}).set_requires_grad();
    relu(x).backward(Tensor::ones({1, 1, 2, 4}));
    return gradient(x);
  };
  CHECK(mask(true) == mask(false));
  CHECK(mask(true) == std::vector<double>{0, 1, 1, 1, 1, 0, 1, 0});
}

TEST_CASE("doubles, and what its producer keeps as it is, are not rounded", "[bfloat16]") {
  const Bfloat16Saves rounding;
  const Tensor w = parameter(random_tensor({4, 1, 1, 4}, 1));
  const Tensor x = random_tensor({1, 3, 3, 4}, 2);
  const Tensor doubled = relu(conv2d(x, w));
  CHECK(saved_bytes(conv2d(doubled, w)) == 2 * x.bytes());

  // tanh keeps its output, so that a convolution's rounded copy would only be in addition.
  const Tensor v = parameter(floats({4, 1, 1, 4}, 1));
  const Tensor y = floats({1, 3, 3, 4}, 2).set_requires_grad();
  CHECK(saved_bytes(conv2d(tanh(y), v)) == y.bytes());
}

TEST_CASE("what is computed again is not rounded in addition", "[bfloat16]") {
  const auto output = [](const Block& block, bool again) {
    const Tensor middle =
        convolve(block.hidden(), block.first, {}, {.conv = kSame}, {}, true, again);
    return conv2d(middle, block.second, {}, kSame);
  };
  const auto gradients = [&](bool again) {
    const Block block;
    output(block, again).backward(floats({2, 6, 5, 3}, 5));
    return std::vector{gradient(block.x), gradient(block.first), gradient(block.second)};
  };
  const auto exact = gradients(true);
  const Bfloat16Saves rounding;
  const Block block;
  const std::int64_t image = block.x.bytes();
  CHECK(saved_bytes(output(block, false)) == image + image / 2 + image / 2);
  CHECK(saved_bytes(output(block, true)) == image + image / 2);
  // From rounded inputs, so that here and there a ReLU of the second time is another.
  const auto rounded = gradients(true);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    CHECK(relative_error(rounded[i], exact[i]) <= 0.1);
  }
}

}  // namespace
}  // namespace attune
