#include "attune/core/graph_report.h"

#include <string>
#include <tuple>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/ops/ops.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

Tensor parameter(const Shape& shape) {
  Tensor tensor = Tensor::ones(shape);
  tensor.storage().set_purpose(MemoryPurpose::parameter);
  return tensor.set_requires_grad();
}

TEST_CASE("a graph report lists nodes in forward order", "[graph_report]") {
  const Tensor x = Tensor::ones({8, 4});
  const Tensor w1 = parameter({16, 4}), w2 = parameter({2, 16}), b = parameter({2});
  Tensor hidden, logits;
  {
    const LabelScope scope("fc1");
    hidden = relu(linear(x, w1));
  }
  {
    const LabelScope scope("fc2");
    logits = linear(hidden, w2, b);
  }
  const Tensor loss = mean(logits);

  const GraphReport report = graph_report(loss);
  REQUIRE(report.entries.size() == 4);
  const auto& [linear1, rectifier, linear2, average] =
      std::tie(report.entries[0], report.entries[1], report.entries[2], report.entries[3]);
  CHECK(linear1.name == "linear");
  CHECK(linear1.label == "fc1");
  CHECK(linear1.output_shape == Shape{8, 16});
  CHECK(linear1.saved_bytes == x.bytes());  // the weight is a parameter, and x needs no gradient
  CHECK(rectifier.name == "relu");
  CHECK(rectifier.saved_bytes == hidden.bytes());
  CHECK(linear2.label == "fc2");
  CHECK(linear2.saved_bytes == 0);  // its input is the rectifier's output
  CHECK(average.name == "mean");
  CHECK(average.label.empty());
  CHECK(average.output_shape == Shape{});
  CHECK(report.saved_bytes == x.bytes() + hidden.bytes());
  CHECK(saved_bytes(loss) == report.saved_bytes);
  CHECK(saved_bytes(loss, {x}) == hidden.bytes());
  CHECK(saved_bytes(loss, {x, hidden}) == 0);
  CHECK(saved_bytes(loss, {Tensor()}) == report.saved_bytes);
}

TEST_CASE("a graph report counts a storage once", "[graph_report]") {
  const Tensor x = Tensor::ones({10}).set_requires_grad();
  const Tensor view = reshape(x, {2, 5});
  CHECK(saved_bytes(sum(log(x)) + sum(log(view)) + sum(abs(x))) == x.bytes());
  const Tensor y = exp(x);
  CHECK(saved_bytes(sum(y * y)) == y.bytes());
}

struct RecipeNode final : Node {
  RecipeNode() : Node("recipe") {}
  void backward(Tensor) override {}
};

TEST_CASE("a recipe counts its ingredients", "[graph_report]") {
  const Tensor x = Tensor::ones({10}).set_requires_grad();
  const Tensor ingredient = Tensor::ones({7});
  Tensor y = Tensor::ones({10});
  auto node = record<RecipeNode>(y, x);
  node->save(Recipe{{SavedTensor(ingredient), SavedTensor(Tensor()), SavedTensor(x)}, {}});
  CHECK(saved_bytes(y) == ingredient.bytes() + x.bytes());
  CHECK(saved_bytes(y, {ingredient}) == x.bytes());
}

TEST_CASE("a report of what has no graph is empty", "[graph_report]") {
  CHECK(graph_report(Tensor()).entries.empty());
  CHECK(graph_report(Tensor::ones({3})).entries.empty());
  CHECK(graph_report(Tensor::ones({3}).set_requires_grad()).entries.empty());
  const Tensor loss = sum(exp(Tensor::ones({3}).set_requires_grad()));
  loss.backward();
  CHECK(graph_report(loss).entries.size() == 1);
  CHECK(graph_report(loss).saved_bytes == 0);
}

TEST_CASE("a report of a long chain overflows no stack", "[graph_report]") {
  Tensor y = Tensor::ones({1}).set_requires_grad();
  for (int i = 0; i < 100'000; ++i) y = -y;
  CHECK(graph_report(y).entries.size() == 100'000);
}

TEST_CASE("a report prints as a table", "[graph_report]") {
  const Tensor x = Tensor::ones({8, 4}).set_requires_grad();
  Tensor y;
  {
    const LabelScope scope("layer1.0.conv1");
    y = exp(x);
  }
  CHECK(to_string(graph_report(sum(y))) ==
        "layer           operation  output     saved bytes\n"
        "layer1.0.conv1  exp        [8, 4]             128\n"
        "                sum        []                   0\n"
        "total                                         128\n");
}

}  // namespace
}  // namespace attune
