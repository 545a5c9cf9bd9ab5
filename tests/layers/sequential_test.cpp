#include "attune/layers/sequential.h"

#include <memory>
#include <string>
#include <vector>

#include "attune/layers/batch_norm2d.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/relu.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

using Names = std::vector<std::string>;

std::shared_ptr<ConvBN> conv_bn(std::int64_t in, std::int64_t out) {
  return std::make_shared<ConvBN>(ConvBNOptions{.in_channels = in, .out_channels = out});
}

}  // namespace

TEST_CASE("Sequential calls its modules in order", "[sequential]") {
  Sequential net;
  const auto conv = net.add<Conv2d>({.in_channels = 1, .out_channels = 2, .kernel = {2, 2}});
  net.add<ReLU>();
  net.add(std::make_shared<Conv2d>(Conv2d::Options{.in_channels = 2, .out_channels = 3}));
  REQUIRE(net.size() == 3);
  CHECK(net[0] == conv);
  CHECK(names(net.state_dict()) == Names{"0.weight", "0.bias", "2.weight", "2.bias"});
  Generator generator{1, 0};
  const Tensor x = random_normal({1, 6, 6, 1}, 0, 1, generator);
  CHECK(net(x).to_vector<float>() == (*net[2])((*net[1])((*net[0])(x))).to_vector<float>());
  REQUIRE_THROWS_AS(net[3], Error);
  REQUIRE_THROWS_AS(net.add(conv), Error);  // is in it already
  CHECK(net.size() == 3);
  CHECK(Sequential()(x).to_vector<float>() == x.to_vector<float>());
}

TEST_CASE("a ConvBN takes two numbers", "[sequential]") {
  Sequential net{conv_bn(3, 4), std::make_shared<ReLU>(), conv_bn(4, 2)};
  CHECK(net.size() == 3);
  CHECK(names(net.named_parameters()) ==
        Names{"0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"});
  CHECK(net[1]->path() == "2");
  net.add<Conv2d>({.in_channels = 2, .out_channels = 2, .bias = false});
  CHECK(names(net.named_parameters()).back() == "5.weight");
}

TEST_CASE("a pair can be replaced by a ConvBN without a change of names", "[sequential]") {
  Sequential net;
  net.add<ReLU>();
  const auto conv = net.add<Conv2d>({.in_channels = 3, .out_channels = 4, .bias = false});
  net.add<BatchNorm2d>({.channels = 4});
  net.add<Conv2d>({.in_channels = 4, .out_channels = 2});
  const Names before = names(net.state_dict());
  REQUIRE_THROWS_AS(net.replace_pair(3, conv_bn(3, 4)), Error);
  const auto replacement = conv_bn(3, 4);
  net.replace_pair(1, replacement);
  CHECK(net.size() == 3);
  CHECK(net[1] == replacement);
  CHECK(names(net.state_dict()) == before);
  CHECK(conv->path().empty());
  CHECK(net(Tensor::ones({1, 7, 7, 3})).shape() == Shape{1, 3, 3, 2});
  net.add<Conv2d>({.in_channels = 2, .out_channels = 2, .bias = false});
  CHECK(names(net.state_dict()).back() == "4.weight");
}
