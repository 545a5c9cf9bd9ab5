#include "support/normalization.h"

#include <string>
#include <vector>

#include "attune/core/error.h"
#include "tests/catch.h"

using namespace attune;
using namespace attune::examples;

TEST_CASE("statistics are a name, or one number or three") {
  CHECK(parse_statistics("imagenet").mean == imagenet_statistics().mean);
  CHECK(parse_statistics("cifar").deviation == cifar10_statistics().deviation);
  CHECK(parse_statistics("-0.5:2").mean == std::vector<double>{-0.5, -0.5, -0.5});
  CHECK(parse_statistics("0:0.25,0.5,1").deviation == std::vector<double>{0.25, 0.5, 1});
  for (const ChannelStatistics& statistics : {cifar100_statistics(), imagenet_statistics()}) {
    const ChannelStatistics again = parse_statistics(to_string(statistics));
    CHECK(again.mean == statistics.mean);
    CHECK(again.deviation == statistics.deviation);
  }
  for (const char* text : {"", ":", "mnist", "0.5", "0.5:", "1:0", "1:-1", "1,2:1", "1:1,2,3,4",
                           "1:nan", "inf:1", "1,:1", "1 :1", "1:1:1"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_statistics(text), Error);
  }
}

TEST_CASE("a picture of any size becomes one of the network's") {
  for (const std::int64_t side : {image_side(Stem::cifar), std::int64_t{61}}) {
    Image image{{50, 90, 3}, std::vector<float>(50 * 90 * 3, 0.5F)};
    RandomStream random(0);
    picture_transform(side, {{0.25, 0.25, 0.25}, {0.5, 0.5, 0.5}}).apply(image, random);
    CHECK(image.size == ImageSize{side, side, 3});
    CHECK(image.pixels[0] == 0.5F);
  }
}
