#include "attune/core/trace.h"

#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/ops/ops.h"
#include "tests/catch.h"

using namespace attune;

TEST_CASE("a trace says what operations were given and what they made", "[trace]") {
  const Tensor x = Tensor::ones({1, 4, 4, 2});
  const TraceScope trace;
  Tensor y, z;
  {
    const LabelScope label("layer1.conv");
    y = conv2d(x, Tensor::ones({4, 3, 3, 1}), {},
               {.stride = {2, 1}, .padding = {1, 1}, .groups = 2});
  }
  z = max_pool2d(relu(y), {.window = {2, 3}});

  REQUIRE(trace.ops().size() == 3);
  const TracedOp& conv = trace.ops()[0];
  CHECK(conv.name == "conv2d");
  CHECK(conv.label == "layer1.conv");
  REQUIRE(conv.inputs.size() == 4);
  CHECK(conv.inputs[0].shared_storage() == x.shared_storage());
  CHECK(!conv.inputs[2].defined());
  CHECK(conv.output.shared_storage() == y.shared_storage());
  CHECK(conv.options.at("stride") == std::vector<double>{2, 1});
  CHECK(conv.options.at("padding") == std::vector<double>{1, 1});
  CHECK(conv.options.at("groups") == std::vector<double>{2});
  CHECK(conv.options.at("relu") == std::vector<double>{0});
  CHECK(trace.ops()[1].name == "relu");
  CHECK(trace.ops()[1].label.empty());
  CHECK(trace.ops()[2].options.at("window") == std::vector<double>{2, 3});
  CHECK(trace.ops()[2].options.at("stride") == std::vector<double>{2, 3});
}

TEST_CASE("every operation of networks takes part in a trace", "[trace]") {
  const Tensor x = Tensor::ones({2, 2, 2, 2}), v = Tensor::ones({2});
  const TraceScope trace;
  relu6(x);
  avg_pool2d(x, {});
  global_avg_pool(x);
  add(x, x);
  concatenate({x, x}, -1);
  pad(x, {{0, 0}, {1, 2}, {0, 0}, {3, 0}}, 0.5);
  permute(x, {0, 3, 1, 2});
  flatten(x);
  linear(Tensor::ones({1, 2}), Tensor::ones({3, 2}), {});
  batch_norm_eval(x, v, v, v, v, 0.25);
  conv_transpose2d(x, Tensor::ones({2, 2, 2, 1}), {}, {});
  std::vector<std::string> names;
  for (const TracedOp& op : trace.ops()) names.push_back(op.name);
  CHECK(names == std::vector<std::string>{"relu6", "avg_pool2d", "global_avg_pool", "add",
                                          "concatenate", "pad", "permute", "reshape", "linear",
                                          "batch_norm_eval", "conv_transpose2d"});
  CHECK(trace.ops()[4].options.at("axis") == std::vector<double>{3});
  CHECK(trace.ops()[5].options.at("before") == std::vector<double>{0, 1, 0, 3});
  CHECK(trace.ops()[5].options.at("after") == std::vector<double>{0, 2, 0, 0});
  CHECK(trace.ops()[5].options.at("value") == std::vector<double>{0.5});
  CHECK(trace.ops()[6].options.at("axes") == std::vector<double>{0, 3, 1, 2});
  CHECK(trace.ops()[9].options.at("eps") == std::vector<double>{0.25});
}

TEST_CASE("the inner of two traces records, and none outside", "[trace]") {
  const Tensor x = Tensor::ones({1});
  CHECK(TraceScope::current() == nullptr);
  const TraceScope outer;
  {
    const TraceScope inner;
    relu(x);
    CHECK(inner.ops().size() == 1);
  }
  CHECK(outer.ops().empty());
  relu(x);
  CHECK(outer.ops().size() == 1);
}
