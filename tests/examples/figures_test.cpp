#include "support/figures.h"

#include <cmath>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/sequential.h"
#include "tests/catch.h"
#include "tests/examples/xml_check.h"

using namespace attune;
using namespace attune::examples;

TEST_CASE("squared scales are those of every channel, deployed or not") {
  const auto block =
      std::make_shared<ConvBN>(ConvBNOptions{.in_channels = 1, .out_channels = 2, .eps = 0});
  const NoGradGuard no_grad;
  Tensor gamma = block->gamma(), variance = block->running_var();
  gamma.copy_(Tensor::from<float>(std::vector<float>{-2, 0}, {2}));
  variance.copy_(Tensor::from<float>(std::vector<float>{16, 1}, {2}));
  Sequential net;
  net.add(block);
  CHECK(squared_scales(net) == std::vector<double>{0.25, 0});
  net.deploy();
  CHECK(squared_scales(net) == std::vector<double>{0.25, 0});
}

TEST_CASE("the figure of scales says where most of them lie") {
  HtmlReport page("Page", "");
  add_scale_figure(page, {}, "nothing");
  CHECK(page.str().find("<figure") == std::string::npos);
  std::vector<double> scales(101, 0.25);
  scales[0] = 0;
  scales[100] = 1e9;
  add_scale_figure(page, scales, "the network");
  const std::string html = page.str();
  CHECK(test::xml_error(html) == "");
  CHECK(html.find("all 101 channels of the network") != std::string::npos);
  CHECK(html.find("between 0.25 and 0.25; the median is 0.25") != std::string::npos);
  CHECK(html.find("channels, s² from 0.18 to 0.32: 99<") != std::string::npos);
}
