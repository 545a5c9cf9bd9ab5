// Recipes: what a node keeps to compute a tensor again, and who keeps them.

#include <memory>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

// y = 3 x, which comes with a recipe: from x, counting how often.
struct TripleBackward final : Node {
  TripleBackward() : Node("triple") {}
  Saved y;
  void backward(Tensor grad) override {
    restore(y);
    add_grad(0, grad * 3);
  }
};

Tensor triple(const Tensor& x, int& rebuilt, bool save_output = false) {
  Tensor y = x.detach() * 3;
  if (auto node = record<TripleBackward>(y, x)) {
    node->offer_recipe(y, {{value_to_save(x)}, [&rebuilt](const std::vector<Tensor>& parts) {
                             ++rebuilt;
                             return parts[0] * 3;
                           }});
    if (save_output) node->y = node->save(y);
  }
  return y;
}

std::vector<double> gradient(const Tensor& x) { return x.grad().to_vector<double>(); }

TEST_CASE("who saves an output keeps the recipe that comes with it", "[recipe]") {
  Tensor x = doubles({1, 2}).set_requires_grad();
  int rebuilt = 0;
  Tensor y = triple(x, rebuilt);
  const std::weak_ptr<Storage> elements = y.shared_storage();
  const Tensor z = y * y;
  CHECK(saved_bytes(z) == x.bytes());
  y = {};
  CHECK(elements.expired());
  CHECK(rebuilt == 0);
  sum(z).backward();
  CHECK(rebuilt == 2);  // once for each side of the product
  CHECK(gradient(x) == std::vector<double>{18, 36});
}

TEST_CASE("a node keeps the recipe for its own output, too", "[recipe]") {
  Tensor x = doubles({1, 2}).set_requires_grad();
  int rebuilt = 0;
  const Tensor y = triple(x, rebuilt, true);
  CHECK(saved_bytes(y) == x.bytes());
  sum(y).backward();
  CHECK(rebuilt == 1);
}

TEST_CASE("an ingredient may be a recipe", "[recipe]") {
  Tensor x = doubles({1, 2}).set_requires_grad();
  int inner = 0, outer = 0;
  const Tensor w = triple(triple(x, inner), outer);
  const Tensor product = w * w;
  CHECK(saved_bytes(product) == x.bytes());
  sum(product).backward();
  CHECK(outer == 2);
  CHECK(inner == 2);
  CHECK(gradient(x) == std::vector<double>{162, 324});
}

TEST_CASE("a recipe stands only for what its node made", "[recipe]") {
  Tensor x = doubles({1, 2}).set_requires_grad();
  int rebuilt = 0;
  Tensor y = triple(x, rebuilt);
  const auto change = [](Tensor& tensor) {
    const NoGradGuard no_grad;
    tensor.fill_(5);
  };
  SECTION("an output changed before it is saved is kept as it is then") {
    change(y);
    const Tensor z = y * y;
    CHECK(saved_bytes(z) == x.bytes() + y.bytes());
    sum(z).backward();
    CHECK(rebuilt == 0);
    CHECK(gradient(x) == std::vector<double>{30, 30});
  }
  SECTION("an output changed after that is rebuilt as it was") {
    const Tensor z = y * y;
    change(y);
    sum(z).backward();
    CHECK(gradient(x) == std::vector<double>{18, 36});
  }
  SECTION("a changed ingredient is an error that names who saved it") {
    const Tensor z = y * y;
    change(x);
    CHECK(contains(error_message([&] { z.backward(z); }),
                   "that 'multiply' saved has been changed in place"));
  }
}

TEST_CASE("recipes go with the graph", "[recipe]") {
  Tensor x = doubles({1, 2}).set_requires_grad();
  int rebuilt = 0;
  Tensor hidden = x * 1;
  const Tensor y = triple(hidden, rebuilt);
  const std::weak_ptr<Storage> ingredient = hidden.shared_storage();
  hidden = {};
  CHECK(!ingredient.expired());
  sum(y).backward();
  CHECK(ingredient.expired());
  CHECK(saved_bytes(y) == 0);
}

TEST_CASE("without gradients no recipe is kept", "[recipe]") {
  const Tensor x = doubles({1, 2}).set_requires_grad();
  int rebuilt = 0;
  const NoGradGuard no_grad;
  const Tensor y = triple(x, rebuilt);
  CHECK(!y.requires_grad());
  CHECK(saved_bytes(y * y) == 0);
}

}  // namespace
}  // namespace attune
