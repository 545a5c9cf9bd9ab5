#include <array>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

std::int64_t live() { return memory_stats(test_device()).total.live; }

std::int64_t live(MemoryPurpose purpose) { return memory_stats(test_device())[purpose].live; }

TEST_CASE("what was saved is released by backward", "[autograd][memory]") {
  Tensor x = random_tensor({100}, 1).set_requires_grad();
  const std::int64_t before = live();
  const Tensor loss = sum(exp(exp(x)));
  CHECK(saved_bytes(loss) == 2 * x.bytes());
  CHECK(live() - before == 2 * x.bytes() + loss.bytes());
  loss.backward();
  CHECK(saved_bytes(loss) == 0);
  CHECK(live() - before == loss.bytes() + x.bytes());  // its gradient
  x.zero_grad();
  CHECK(live() - before == loss.bytes());
}

TEST_CASE("saves go with the last result that needs them", "[autograd][memory]") {
  const Tensor x = random_tensor({100}, 2).set_requires_grad();
  const std::int64_t before = live();
  Tensor y = exp(x);
  {
    const Tensor z = exp(y);
    y = {};  // still saved, twice over
    CHECK(live() - before == 2 * x.bytes());
  }
  CHECK(live() == before);
}

TEST_CASE("saves are released one node at a time during backward", "[autograd][memory]") {
  const std::int64_t count = 1000;
  const std::int64_t bytes = count * 8;
  const Tensor x = random_tensor({count}, 3, -0.1, 0.1).set_requires_grad();
  const std::int64_t before = live();
  Tensor y = x;
  for (int i = 0; i < 10; ++i) y = tanh(y);
  const Tensor loss = sum(y);
  y = {};
  CHECK(live() - before == 10 * bytes + 8);
  MemoryScope scope(test_device());
  loss.backward();
  // A few temporaries, not a gradient a node: those would be ten more.
  CHECK(scope.peak_above_start() <= 5 * bytes);
}

TEST_CASE("an edge keeps no elements alive", "[autograd][memory]") {
  const Tensor x = random_tensor({100}, 4).set_requires_grad();
  const std::int64_t before = live();
  Tensor y = x * 2;
  const std::int64_t scalar = 8;  // the 2, which the gradient needs
  CHECK(live() - before == y.bytes() + scalar);
  const Tensor z = sum(y);
  y = {};  // an input of the sum, but the sum saved nothing
  CHECK(live() - before == scalar + z.bytes());
}

TEST_CASE("without gradients nothing stays", "[autograd][memory]") {
  const Tensor x = random_tensor({100}, 5).set_requires_grad();
  const NoGradGuard no_grad;
  const std::int64_t before = live();
  const Tensor y = exp(exp(exp(x)));
  CHECK(live() - before == y.bytes());
}

TEST_CASE("gradients are counted as gradients", "[autograd][memory]") {
  const Tensor x = random_tensor({100}, 6).set_requires_grad();
  const std::int64_t before = live(MemoryPurpose::gradient);
  sum(exp(x)).backward();
  CHECK(live(MemoryPurpose::gradient) - before == x.bytes());
  const Tensor y = random_tensor({100}, 7).set_requires_grad();
  y.backward(random_tensor({100}, 8));
  CHECK(live(MemoryPurpose::gradient) - before == 2 * x.bytes());
}

TEST_CASE("gradients form no cycles", "[autograd][memory]") {
  const std::int64_t before = live();
  {
    Tensor x = random_tensor({100}, 9).set_requires_grad();
    x.set_grad(x * x);  // a graph that leads back to x
    const Tensor y = x * x;
    CHECK_THROWS_AS(y.backward(Tensor::ones({3}, DType::float64)), Error);
    y.backward(y);
  }
  {
    Tensor x = random_tensor({100}, 10).set_requires_grad();
    Tensor constant = random_tensor({100}, 11);
    const Tensor y = x * constant;
    constant.fill_(0);
    CHECK_THROWS_AS(y.backward(y), Error);
  }
  CHECK(live() == before);
}

TEST_CASE("a parameter used as a seed stays a parameter", "[autograd][memory]") {
  const Tensor w = Tensor::ones({10}, DType::float64).set_requires_grad();
  w.storage().set_purpose(MemoryPurpose::parameter);
  const Tensor x = random_tensor({10}, 12).set_requires_grad();
  (reshape(x, {10}) + reshape(x, {10})).backward(w);
  CHECK(w.storage().purpose() == MemoryPurpose::parameter);
  CHECK(x.grad().storage().purpose() == MemoryPurpose::gradient);
}

TEST_CASE("memory scopes nest", "[memory]") {
  const std::int64_t kilobyte = 1024;
  const auto allocate = [&](std::int64_t kilobytes) {
    return Tensor::empty({kilobytes * kilobyte}, DType::uint8);
  };
  MemoryScope outer(test_device());
  allocate(5);
  {
    const Tensor kept = allocate(1);
    MemoryScope inner(test_device());
    CHECK(inner.peak_above_start() == 0);
    allocate(2);
    CHECK(inner.peak_above_start() == 2 * kilobyte);
    {
      MemoryScope innermost(test_device());
      allocate(7);
      CHECK(innermost.peak_above_start() == 7 * kilobyte);
    }
    CHECK(inner.peak_above_start() == 7 * kilobyte);
    allocate(3);
    CHECK(inner.peak_above_start() == 7 * kilobyte);
  }
  CHECK(outer.peak_above_start() == 8 * kilobyte);  // the kept one and the innermost
  {
    MemoryScope another(test_device());
    allocate(1);
    CHECK(another.peak_above_start() == kilobyte);
  }
  CHECK(outer.peak_above_start() == 8 * kilobyte);  // a smaller scope does not lower it
}

}  // namespace
}  // namespace attune
