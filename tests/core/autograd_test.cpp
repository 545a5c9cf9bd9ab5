#include "attune/core/autograd.h"

#include <string>
#include <thread>
#include <vector>

#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

Tensor leaf(const std::vector<double>& values) { return doubles(values).set_requires_grad(); }

std::vector<double> grad_of(const Tensor& tensor) { return tensor.grad().to_vector<double>(); }

using Values = std::vector<double>;

// ---- What is recorded ----

TEST_CASE("a result requires a gradient if and only if an input does", "[autograd]") {
  const Tensor a = leaf({1, 2}), b = doubles({3, 4});
  CHECK((a * b).requires_grad());
  CHECK(!(b * b).requires_grad());
  CHECK((a * b).autograd_meta()->producer->name() == std::string("multiply"));
  CHECK(!(a * b).autograd_meta()->producer->needs(1));
}

TEST_CASE("nothing is recorded under a NoGradGuard, on this thread", "[autograd]") {
  const Tensor a = leaf({1, 2});
  {
    const NoGradGuard outer;
    CHECK(!grad_enabled());
    {
      const NoGradGuard inner;
      CHECK(!(a * 2).requires_grad());
    }
    CHECK(!(a * 2).requires_grad());
    bool elsewhere = false;
    std::thread([&] { elsewhere = grad_enabled(); }).join();
    CHECK(elsewhere);
  }
  CHECK(grad_enabled());
  CHECK((a * 2).requires_grad());
}

TEST_CASE("a detached tensor shares elements but no graph", "[autograd]") {
  const Tensor a = leaf({1, 2});
  const Tensor y = a * 3, cut = y.detach();
  CHECK(!cut.requires_grad());
  CHECK(cut.shared_storage() == y.shared_storage());
  sum(y * cut).backward();
  CHECK(grad_of(a) == Values{9, 18});  // 3 * cut, not 6 * cut
}

TEST_CASE("nodes carry the label of their scope", "[autograd]") {
  const Tensor a = leaf({1});
  const auto label = [](const Tensor& y) { return y.autograd_meta()->producer->label(); };
  CHECK(label(a * 2).empty());
  {
    const LabelScope outer("layer1");
    CHECK(label(a * 2) == "layer1");
    {
      const LabelScope inner("layer1.conv1");
      CHECK(label(a * 2) == "layer1.conv1");
    }
    CHECK(label(a * 2) == "layer1");
  }
  CHECK(label(a * 2).empty());
}

// ---- How gradients flow ----

TEST_CASE("gradients of all paths add up", "[autograd]") {
  const Tensor x = leaf({2, 3});
  SECTION("a diamond") {
    const Tensor left = x * 3, right = x * x;
    sum(left * right).backward();  // 3 x^3
    CHECK(grad_of(x) == Values{36, 81});
  }
  SECTION("a tensor used twice by one operation") {
    sum((x * 1) * (x * 1)).backward();
    CHECK(grad_of(x) == Values{4, 6});
  }
  SECTION("the same, without any node in between") {
    sum(x * x + x).backward();
    CHECK(grad_of(x) == Values{5, 7});
  }
  SECTION("paths of different lengths, the longer one recorded first") {
    const Tensor y = x * 1;
    Tensor z = y;
    for (int i = 0; i < 5; ++i) z = z * 2;
    sum(z + y + z).backward();
    CHECK(grad_of(x) == Values{65, 65});
  }
  SECTION("many consumers of one tensor") {
    const Tensor y = x * 1;
    Tensor total = y + y;
    for (int i = 0; i < 7; ++i) total = total + y;
    sum(total).backward();
    CHECK(grad_of(x) == Values{9, 9});
  }
}

TEST_CASE("backward accumulates until zero_grad", "[autograd]") {
  Tensor x = leaf({1, 2});
  sum(x * 3).backward();
  CHECK(grad_of(x) == Values{3, 3});
  sum(x * x).backward();
  CHECK(grad_of(x) == Values{5, 7});
  x.zero_grad();
  CHECK(!x.grad().defined());
  sum(x * x).backward();
  CHECK(grad_of(x) == Values{2, 4});
}

TEST_CASE("backward takes a seed of any shape", "[autograd]") {
  const Tensor x = leaf({1, 2});
  (x * 2).backward(doubles({10, 100}));
  CHECK(grad_of(x) == Values{20, 200});
  x.backward(doubles({1, 1}));  // of a leaf: the seed itself
  CHECK(grad_of(x) == Values{21, 201});
  const Tensor y = leaf({5});
  y.backward();
  y.backward();
  CHECK(grad_of(y) == Values{2});
}

TEST_CASE("gradients of intermediate results are dropped unless retained", "[autograd]") {
  const Tensor x = leaf({1, 2});
  Tensor y = x * 2, z = y * 3, loss = sum(z);
  y.retain_grad();
  loss.retain_grad();
  loss.backward();
  CHECK(grad_of(y) == Values{3, 3});
  CHECK(grad_of(loss) == Values{1});
  CHECK(!z.grad().defined());
  CHECK(grad_of(x) == Values{6, 6});
}

TEST_CASE("gradients reach only what requires them", "[autograd]") {
  const Tensor x = leaf({1, 2}), w = leaf({3, 4});
  Tensor frozen = doubles({5, 6}).set_requires_grad();
  frozen.set_requires_grad(false);
  sum(x * frozen + w).backward();
  CHECK(grad_of(x) == Values{5, 6});
  CHECK(grad_of(w) == Values{1, 1});
  CHECK(!frozen.grad().defined());
}

// ---- Who owns a gradient ----

TEST_CASE("a leaf's gradient is its own", "[autograd]") {
  Tensor a = leaf({1, 2}), b = leaf({3, 4});
  const Tensor seed = doubles({1, 1});
  const auto apart = [&] {
    CHECK(a.grad().shared_storage() != b.grad().shared_storage());
    CHECK(a.grad().shared_storage() != seed.shared_storage());
    CHECK(b.grad().shared_storage() != seed.shared_storage());
  };
  SECTION("an addition hands one gradient to both") {
    (a + b).backward(seed);
    apart();
  }
  SECTION("a reshaped gradient shares its elements") {
    (reshape(a, {2}) + reshape(b, {2})).backward(seed);
    apart();
  }
  SECTION("the leaf is the root") {
    a.backward(seed);
    b.backward(seed);
    apart();
    // A gradient that the user holds is not added to behind their back.
    const Tensor held = a.grad();
    a.backward(seed);
    CHECK(held.to_vector<double>() == Values{1, 1});
    CHECK(grad_of(a) == Values{2, 2});
  }
  SECTION("changing one gradient leaves the other") {
    sum(a + b).backward();
    a.grad().fill_(7);
    CHECK(grad_of(b) == Values{1, 1});
    const Tensor held = a.grad();
    sum(a + b).backward();
    CHECK(grad_of(a) == Values{8, 8});
    CHECK(held.to_vector<double>() == Values{7, 7});
  }
  SECTION("retained gradients too") {
    Tensor y = a * 2, z = b * 3, total = y + z;
    for (Tensor* tensor : {&y, &z, &total}) tensor->retain_grad();
    total.backward(seed);
    y.grad().fill_(7);
    total.grad().fill_(8);
    CHECK(grad_of(z) == Values{1, 1});
    CHECK(seed.to_vector<double>() == Values{1, 1});
    CHECK(grad_of(a) == Values{2, 2});
    CHECK(grad_of(b) == Values{3, 3});
  }
}

// ---- ReLU masks ----

// A ReLU that tells whether its backward found the gradient masked.
struct SpyRelu final : Node {
  SpyRelu() : Node("spy_relu") {}

  Saved y;
  bool* found_masked = nullptr;

  void backward(Tensor grad) override {
    const std::uint64_t version = grad.storage().version();
    const auto* storage = grad.shared_storage().get();
    Tensor masked = through_relu(std::move(grad), y);
    *found_masked =
        masked.shared_storage().get() == storage && masked.storage().version() == version;
    add_grad(0, std::move(masked));
  }
};

Tensor spy_relu(const Tensor& x, bool& found_masked) {
  Tensor y = relu(x.detach());
  if (auto node = record<SpyRelu>(y, x)) {
    node->y = node->save_relu_output(y);
    node->found_masked = &found_masked;
  }
  return y;
}

TEST_CASE("consumers of a ReLU may mask for it", "[autograd][relu]") {
  Tensor x = random_tensor({1, 4, 4, 2}, 1).set_requires_grad();
  const Tensor w = random_tensor({3, 3, 3, 2}, 2).set_requires_grad();
  const Tensor other = random_tensor({1, 4, 4, 2}, 3);
  const Conv2dOptions same{.padding = {1, 1}};
  bool masked = false;

  // The plain rule, with a gradient nobody masks.
  const auto expected = [&](const auto& f) {
    Tensor apart = relu(x).detach().set_requires_grad();
    sum(f(apart)).backward();
    const Tensor grad = apart.grad();
    return build(x.shape(), [&](const Index& i) { return at(x, i) > 0 ? at(grad, i) : 0; });
  };
  const auto check = [&](const auto& f, bool expect_masked) {
    const Tensor reference = expected(f);
    x.zero_grad();
    sum(f(spy_relu(x, masked))).backward();
    CHECK(masked == expect_masked);
    CHECK(error_of(x.grad(), reference) <= 1e-14);
  };

  CHECK(relu(x).autograd_meta()->relu_output);
  CHECK(!(x * 2).autograd_meta()->relu_output);
  const auto convolved = [&](const Tensor& y) { return sum(conv2d(y, w, {}, same)); };
  SECTION("a convolution masks in its epilogue") { check(convolved, true); }
  SECTION("two convolutions") {
    check([&](const Tensor& y) { return convolved(y) + convolved(y) * 2; }, true);
  }
  SECTION("a product does not mask") {
    check([&](const Tensor& y) { return sum(y * other); }, false);
  }
  SECTION("one of two does not: what counts is who comes last in backward") {
    const auto product_last = [&](const Tensor& y) {
      const Tensor product = sum(y * other);
      return convolved(y) + product;
    };
    const auto convolution_last = [&](const Tensor& y) {
      const Tensor convolution = convolved(y);
      return convolution + sum(y * other);
    };
    check(product_last, false);
    check(convolution_last, true);  // its epilogue masks the sum of both
  }
  SECTION("a gradient that the user will see is not masked") {
    Tensor y = relu(x);
    y.retain_grad();
    sum(conv2d(y, w, {}, same)).backward();
    Tensor apart = relu(x).detach().set_requires_grad();
    sum(conv2d(apart, w, {}, same)).backward();
    CHECK(error_of(y.grad(), apart.grad()) <= 1e-14);
    CHECK(error_of(x.grad(), expected(convolved)) <= 1e-14);
  }
}

TEST_CASE("a ReLU between convolutions has the right gradient", "[autograd][relu]") {
  const Conv2dOptions same{.padding = {1, 1}};
  check_gradient(
      [&](const auto& in) {
        const Tensor y = relu(conv2d(in[0], in[1], {}, same));
        return conv2d(y, in[2], {}, same) + y;
      },
      {random_tensor({1, 3, 3, 2}, 4), random_tensor({2, 3, 3, 2}, 5),
       random_tensor({2, 3, 3, 2}, 6)});
}

// ---- Errors ----

TEST_CASE("a saved tensor that changed is an error", "[autograd][error]") {
  Tensor x = leaf({1, 2}), constant = doubles({3, 4});
  const Tensor y = sum(x * constant);
  SECTION("changed by fill_") { constant.fill_(5); }
  SECTION("changed by copy_") { constant.copy_(doubles({3, 4})); }
  SECTION("a pointer to change it through is asked for") { constant.mutable_data<double>(); }
  SECTION("changed through a view") { constant.view({2, 1}).fill_(0); }
  CHECK(error_message([&] { y.backward(); }) ==
        "backward: a tensor [2] that 'multiply' saved has been changed in place since the forward "
        "pass");
  CHECK(!x.grad().defined());
}

TEST_CASE("a backward that failed leaves nothing to the next one", "[autograd][error]") {
  Tensor x = leaf({1, 2}), constant = doubles({3, 4});
  const Tensor shared = x * 2;
  const Tensor broken = shared * constant;  // recorded first: reached last
  const Tensor sound = shared * doubles({5, 6});
  const Tensor other = sum(shared * 10);
  const Tensor loss = sum(broken + sound);
  constant.fill_(0);
  CHECK_THROWS_AS(loss.backward(), Error);
  other.backward();
  CHECK(grad_of(x) == Values{20, 20});
}

TEST_CASE("a second backward through one graph is an error", "[autograd][error]") {
  const Tensor x = leaf({1, 2});
  const Tensor trunk = x * x, first = sum(trunk), second = sum(trunk * 2);
  first.backward();
  const std::string message =
      "backward: the graph below 'multiply' has been used by an earlier backward, which released "
      "what it had saved; run the forward pass again";
  CHECK(contains(error_message([&] { first.backward(); }), "the graph below 'sum' has been used"));
  CHECK(error_message([&] { second.backward(); }) == message);
  CHECK(grad_of(x) == Values{2, 4});  // neither attempt changed it
}

TEST_CASE("backward says what it needs", "[autograd][error]") {
  const Tensor x = leaf({1, 2});
  CHECK(error_message([&] { x.backward(); }) ==
        "backward: float64 [2] on cpu is not a single element; pass a seed of its shape");
  CHECK(error_message([&] { doubles({1}).backward(); }) ==
        "backward: nothing that this tensor was computed from requires a gradient");
  CHECK(error_message([&] {
          (x * 2).backward(doubles({1, 2, 3}));
        }) == "backward: seed [3] does not have the tensor's shape [2]");
  CHECK(error_message([&] { (x * 2).backward(Tensor::ones({2})); }) ==
        "backward: float64 [2] on cpu and float32 [2] on cpu do not go together");
  CHECK(!error_message([&] { Tensor().backward(); }).empty());
}

TEST_CASE("tensors that take part cannot be misused", "[autograd][error]") {
  Tensor x = leaf({1, 2}), plain = doubles({1, 2});
  Tensor y = x * 2;
  CHECK(error_message([&] { Tensor::ones({2}, DType::int64).set_requires_grad(); }) ==
        "set_requires_grad: int64 [2] on cpu is not floating");
  CHECK(error_message([&] { y.set_requires_grad(false); }) ==
        "set_requires_grad: only a leaf can be frozen; use detach() on a computed tensor");
  CHECK(error_message([&] { x.fill_(0); }) ==
        "fill_: float64 [2] on cpu takes part in differentiation; change it under a NoGradGuard");
  CHECK(error_message([&] { x.copy_(plain); }) ==
        "copy_: float64 [2] on cpu takes part in differentiation; change it under a NoGradGuard");
  CHECK(x.to_vector<double>() == Values{1, 2});
  CHECK(error_message([&] { plain.retain_grad(); }) ==
        "retain_grad: this tensor does not require a gradient");
  CHECK(error_message([&] { plain.set_grad(plain); }) ==
        "set_grad: this tensor does not require a gradient");
  CHECK(error_message([&] { x.set_grad(doubles({1})); }) ==
        "set_grad: float64 [1] on cpu for float64 [2] on cpu");
  const NoGradGuard no_grad;
  x.fill_(3);
  CHECK(x.to_vector<double>() == Values{3, 3});
}

struct WrongShape final : Node {
  WrongShape() : Node("wrong_shape") {}
  void backward(Tensor) override { add_grad(0, Tensor::ones({3}, DType::float64)); }
};

TEST_CASE("a node that makes a gradient of the wrong shape is named", "[autograd][error]") {
  const Tensor x = leaf({1, 2});
  Tensor y = doubles({1, 2});
  record<WrongShape>(y, x);
  CHECK(error_message([&] { sum(y).backward(); }) ==
        "backward: 'wrong_shape' made a gradient float64 [3] on cpu for input 0, which is float64 "
        "[2]");
}

// ---- Recipes ----

struct SquareByRecipe final : Node {
  SquareByRecipe() : Node("square_by_recipe") {}
  Saved x;
  void backward(Tensor grad) override { add_grad(0, grad * 2 * restore(x)); }
};

TEST_CASE("a recipe is rebuilt in backward, from unchanged ingredients", "[autograd]") {
  const Tensor x = leaf({1, 2});
  Tensor half = x.detach() * 0.5;
  int rebuilt = 0;
  Tensor y = x.detach() * x.detach();
  auto node = record<SquareByRecipe>(y, x);
  node->x = node->save(Recipe{{SavedTensor(half)}, [&](const std::vector<Tensor>& parts) {
                                ++rebuilt;
                                CHECK(grad_enabled());  // as in the forward pass
                                CHECK(!parts[0].requires_grad());
                                return parts[0] * 2;
                              }});
  SECTION("unchanged") {
    CHECK(rebuilt == 0);
    sum(y).backward();
    CHECK(rebuilt == 1);
    CHECK(grad_of(x) == Values{2, 4});
  }
  SECTION("changed") {
    half.fill_(0);
    CHECK(contains(error_message([&] { sum(y).backward(); }), "that 'square_by_recipe' saved"));
    CHECK(rebuilt == 0);
  }
}

// ---- Long graphs ----

TEST_CASE("a long chain overflows no stack", "[autograd]") {
  const int length = 300'000;
  const Tensor x = leaf({1});
  Tensor y = x;
  for (int i = 0; i < length; ++i) y = -y;
  SECTION("in backward") {
    y.backward();
    CHECK(grad_of(x) == Values{1});
  }
  SECTION("when it is let go without one") { y = {}; }
  SECTION("when it is let go from the middle") {
    Tensor middle = y;
    for (int i = 0; i < 1000; ++i) middle = middle + y;
    y = {};
    middle = {};
  }
}

}  // namespace
}  // namespace attune
