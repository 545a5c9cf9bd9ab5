#include "attune/data/transforms.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::CenterCrop;
using attune::ChannelStatistics;
using attune::Compose;
using attune::Cutout;
using attune::Error;
using attune::HorizontalFlip;
using attune::Image;
using attune::ImageSize;
using attune::Normalize;
using attune::RandomCrop;
using attune::RandomStream;
using attune::Resize;
using attune::Transform;
using attune::test::message_of;

namespace {

// All values are different, and none is zero.
Image numbered(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image{{height, width, channels}, {}};
  for (std::int64_t i = 0; i < image.size.count(); ++i) {
    image.pixels.push_back(static_cast<float>(i + 1));
  }
  return image;
}

Image random_image(std::int64_t height, std::int64_t width, std::int64_t channels, int seed) {
  const ImageSize size{height, width, channels};
  return {size,
          attune::test::random_vector<float>(size.count(), static_cast<std::uint64_t>(seed), 0, 1)};
}

Image applied(const Transform& transform, Image image, std::uint64_t stream = 0) {
  RandomStream random(11, stream);
  transform.apply(image, random);
  return image;
}

bool equal(const Image& a, const Image& b) { return a.size == b.size && a.pixels == b.pixels; }

// The value of a channel, zero outside the image.
float padded(const Image& image, std::int64_t y, std::int64_t x, std::int64_t c) {
  if (y < 0 || y >= image.size.height || x < 0 || x >= image.size.width) return 0;
  return image.at(y, x)[c];
}

// Pixel by pixel: `size` cut out of an image that is surrounded by zeros.
Image naive_crop(const Image& image, std::int64_t height, std::int64_t width, std::int64_t top,
                 std::int64_t left) {
  Image result{{height, width, image.size.channels}, {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < image.size.channels; ++c) {
        result.pixels.push_back(padded(image, top + y, left + x, c));
      }
    }
  }
  return result;
}

Image mirrored(const Image& image) {
  Image result = image;
  for (std::int64_t y = 0; y < image.size.height; ++y) {
    for (std::int64_t x = 0; x < image.size.width; ++x) {
      for (std::int64_t c = 0; c < image.size.channels; ++c) {
        result.at(y, x)[c] = image.at(y, image.size.width - 1 - x)[c];
      }
    }
  }
  return result;
}

std::string error_of(const Transform& transform, const Image& image) {
  return message_of<Error>([&] { applied(transform, image); });
}

}  // namespace

TEST_CASE("Bytes become numbers from 0 to 1") {
  Image image;
  attune::to_float({{1, 3, 1}, {0, 51, 255}}, image);
  CHECK(image.size == ImageSize{1, 3, 1});
  CHECK(image.pixels == std::vector<float>{0, 51 / 255.0f, 1});
}

TEST_CASE("RandomCrop takes every window of the padded image equally often") {
  const Image image = numbered(5, 4, 2);
  struct Case {
    std::int64_t height, width, padding;
  };
  for (const Case& c : {Case{5, 4, 1}, Case{3, 2, 0}, Case{2, 3, 3}, Case{9, 8, 2}}) {
    INFO(c.height << "x" << c.width << " padding " << c.padding);
    std::map<std::pair<std::int64_t, std::int64_t>, int> counts;
    std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, Image>> windows;
    for (std::int64_t top = -c.padding; top + c.height <= 5 + c.padding; ++top) {
      for (std::int64_t left = -c.padding; left + c.width <= 4 + c.padding; ++left) {
        windows.push_back({{top, left}, naive_crop(image, c.height, c.width, top, left)});
      }
    }
    const int rounds = 100;
    const auto trials = rounds * static_cast<int>(windows.size());
    for (int i = 0; i < trials; ++i) {
      const Image crop =
          applied(RandomCrop(c.height, c.width, c.padding), image, static_cast<std::uint64_t>(i));
      // Windows wholly in the padding look alike: count the first.
      const auto found = std::find_if(windows.begin(), windows.end(),
                                      [&](const auto& w) { return equal(w.second, crop); });
      REQUIRE(found != windows.end());
      ++counts[found->first];
    }
    if (c.padding < 2) {  // no two windows look alike
      CHECK(counts.size() == windows.size());
      for (const auto& [place, count] : counts) CHECK(std::abs(count - rounds) <= 5 * 10);
    }
  }
}

TEST_CASE("RandomCrop refuses what does not fit") {
  CHECK(applied(RandomCrop(8, 8, 2), numbered(4, 4, 3)).size == ImageSize{8, 8, 3});
  CHECK(error_of(RandomCrop(9, 8, 2), numbered(4, 4, 3)) ==
        "RandomCrop(9x8, padding 2): larger than the image 4x4x3 with its padding");
  CHECK(message_of<Error>([] { RandomCrop(0, 8); }) == "RandomCrop: height 0 is not positive");
  CHECK(message_of<Error>([] { RandomCrop(8, -1); }) == "RandomCrop: width -1 is not positive");
  CHECK(message_of<Error>([] { RandomCrop(8, 8, -1); }) == "RandomCrop: padding -1 is negative");
}

TEST_CASE("CenterCrop takes the middle") {
  const Image image = numbered(6, 7, 2);
  CHECK(equal(applied(CenterCrop(2, 3), image), naive_crop(image, 2, 3, 2, 2)));
  CHECK(equal(applied(CenterCrop(3, 4), image), naive_crop(image, 3, 4, 1, 1)));
  CHECK(equal(applied(CenterCrop(6, 7), image), image));
  CHECK(error_of(CenterCrop(7, 7), image) == "CenterCrop(7x7): larger than the image 6x7x2");
  CHECK(message_of<Error>([] { CenterCrop(0, 1); }) == "CenterCrop: height 0 is not positive");
}

TEST_CASE("HorizontalFlip mirrors as often as asked") {
  for (const std::int64_t width : {1, 2, 5}) {
    const Image image = numbered(3, width, 3);
    CHECK(equal(applied(HorizontalFlip(1), image), mirrored(image)));
    CHECK(equal(applied(HorizontalFlip(0), image), image));
  }
  const Image image = numbered(3, 5, 3);
  int flips = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Image result = applied(HorizontalFlip(0.25), image, i);
    const bool flipped = equal(result, mirrored(image));
    CHECK((flipped || equal(result, image)));
    flips += flipped;
  }
  CHECK(std::abs(flips - 500) <= 100);  // five standard deviations
  CHECK(message_of<Error>([] { HorizontalFlip(1.5); }) ==
        "HorizontalFlip: probability 1.5 is not within 0 to 1");
}

TEST_CASE("Cutout clears a square around every pixel, cut off at the edges") {
  const std::int64_t height = 6;
  const std::int64_t width = 5;
  const Image image = numbered(height, width, 2);
  for (const std::int64_t length : {1, 3, 4, 20}) {
    INFO("length " << length);
    std::set<std::vector<float>> expected;
    for (std::int64_t centre_y = 0; centre_y < height; ++centre_y) {
      for (std::int64_t centre_x = 0; centre_x < width; ++centre_x) {
        Image result = image;
        for (std::int64_t y = 0; y < height; ++y) {
          for (std::int64_t x = 0; x < width; ++x) {
            const std::int64_t dy = y - (centre_y - length / 2);
            const std::int64_t dx = x - (centre_x - length / 2);
            if (dy < 0 || dy >= length || dx < 0 || dx >= length) continue;
            for (std::int64_t c = 0; c < 2; ++c) result.at(y, x)[c] = 0;
          }
        }
        expected.insert(result.pixels);
      }
    }
    std::set<std::vector<float>> seen;
    for (std::uint64_t i = 0; i < 600; ++i) seen.insert(applied(Cutout(length), image, i).pixels);
    CHECK(seen == expected);
  }
  CHECK(message_of<Error>([] { Cutout(0); }) == "Cutout: length 0 is not positive");
}

TEST_CASE("Resize averages source pixels under a triangle") {
  // Straight from the definition, in double, with both directions at once.
  const auto naive = [](const Image& image, std::int64_t height, std::int64_t width) {
    const auto weight = [](std::int64_t s, std::int64_t source, std::int64_t t,
                           std::int64_t target) {
      const double scale = static_cast<double>(source) / static_cast<double>(target);
      const double distance =
          (static_cast<double>(t) + 0.5) * scale - (static_cast<double>(s) + 0.5);
      return std::max(0.0, 1 - std::abs(distance) / std::max(1.0, scale));
    };
    std::vector<double> result;
    for (std::int64_t i = 0; i < height; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        for (std::int64_t c = 0; c < image.size.channels; ++c) {
          double sum = 0;
          double weights = 0;
          for (std::int64_t y = 0; y < image.size.height; ++y) {
            for (std::int64_t x = 0; x < image.size.width; ++x) {
              const double w =
                  weight(y, image.size.height, i, height) * weight(x, image.size.width, j, width);
              sum += w * image.at(y, x)[c];
              weights += w;
            }
          }
          result.push_back(sum / weights);
        }
      }
    }
    return result;
  };
  attune::test::Random random(3);
  for (int i = 0; i < 60; ++i) {
    const Image image =
        random_image(random.integer(1, 12), random.integer(1, 12), random.integer(1, 4), 100 + i);
    const std::int64_t height = random.integer(1, 15);
    const std::int64_t width = random.integer(1, 15);
    INFO(to_string(image.size) << " to " << height << "x" << width);
    const Image result = applied(Resize(height, width), image);
    REQUIRE(result.size == ImageSize{height, width, image.size.channels});
    const std::vector<double> expected = naive(image, height, width);
    REQUIRE(result.pixels.size() == expected.size());
    double error = 0;
    for (std::size_t k = 0; k < expected.size(); ++k) {
      error = std::max(error, std::abs(expected[k] - double{result.pixels[k]}));
    }
    CHECK(error <= 1e-6);
  }
}

TEST_CASE("Resize keeps an image of the right size, constants, and halves exactly") {
  const Image image = random_image(7, 9, 3, 1);
  CHECK(equal(applied(Resize(7, 9), image), image));
  // Shrinking two pixels to one weighs them alike.
  CHECK(applied(Resize(1, 1), Image{{1, 2, 1}, {0.25f, 0.75f}}).pixels[0] == 0.5f);
  // Enlarging: a quarter of a pixel from the old centres, and constant beyond them.
  CHECK(applied(Resize(1, 4), Image{{1, 2, 1}, {0, 1}}).pixels ==
        std::vector<float>{0, 0.25f, 0.75f, 1});
  const Image flat{{5, 3, 1}, std::vector<float>(15, 0.5f)};
  for (const float value : applied(Resize(11, 2), flat).pixels) {
    CHECK(std::abs(value - 0.5f) <= 1e-6f);
  }
}

TEST_CASE("Resize to a shorter side keeps the aspect ratio") {
  const auto resized = [](std::int64_t height, std::int64_t width) {
    return applied(Resize::shorter_side(8), random_image(height, width, 3, 1)).size;
  };
  CHECK(resized(16, 31) == ImageSize{8, 15, 3});
  CHECK(resized(40, 20) == ImageSize{16, 8, 3});
  CHECK(resized(4, 4) == ImageSize{8, 8, 3});
  // A file of a few kilobytes may hold such an image.
  CHECK(resized(1, 8192) == ImageSize{8, 65536, 3});
  for (const auto& [height, width] : {std::pair(1, 8193), std::pair(8193, 1)}) {
    const std::string larger = height > width ? "65544x8" : "8x65544";
    CHECK(error_of(Resize::shorter_side(8), random_image(height, width, 3, 1)) ==
          "Resize: an image of " + to_string(ImageSize{height, width, 3}) + " would become " +
              larger + ", but no side may be longer than 65536");
  }
  CHECK(message_of<Error>([] { Resize(0, 4); }) == "Resize: height 0 is not within 1 to 65536");
  CHECK(message_of<Error>([] { Resize(4, 65537); }) ==
        "Resize: width 65537 is not within 1 to 65536");
}

TEST_CASE("Normalize") {
  const Image image = random_image(4, 5, 3, 2);
  const ChannelStatistics statistics{{0.1, 0.2, 0.3}, {0.5, 1, 2}};
  const Image result = applied(Normalize(statistics), image);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const double expected =
        (double{image.pixels[i]} - statistics.mean[i % 3]) / statistics.deviation[i % 3];
    CHECK(std::abs(expected - double{result.pixels[i]}) <= 1e-6);
  }
  CHECK(error_of(Normalize(statistics), random_image(4, 5, 1, 2)) ==
        "Normalize: an image of 4x5x1 for 3 channels");
  CHECK(message_of<Error>([] {
          Normalize({{0, 0}, {1}});
        }) == "Normalize: 2 means and 1 deviations");
  CHECK(message_of<Error>([] { Normalize({{}, {}}); }) == "Normalize: 0 means and 0 deviations");
  CHECK(message_of<Error>([] {
          Normalize({{0}, {0}});
        }) == "Normalize: deviation 0 is not positive");
}

TEST_CASE("Channel statistics are those of all pixels") {
  const attune::InMemoryDataset dataset("set", {"a"}, {1, 2, 2}, {0, 255, 51, 255, 102, 0, 255, 0},
                                        {0, 0});
  const ChannelStatistics statistics = attune::channel_statistics(dataset);
  REQUIRE(statistics.mean.size() == 2);
  // Channel 0 holds 0, 0.2, 0.4 and 1, channel 1 holds 1, 1, 0 and 0.
  CHECK(std::abs(statistics.mean[0] - 0.4) <= 1e-12);
  CHECK(std::abs(statistics.deviation[0] - std::sqrt(0.14)) <= 1e-12);
  CHECK(std::abs(statistics.mean[1] - 0.5) <= 1e-12);
  CHECK(std::abs(statistics.deviation[1] - 0.5) <= 1e-12);
  CHECK(message_of<Error>([] {
          attune::channel_statistics(attune::InMemoryDataset("set", {}, {1, 1, 1}, {}, {}));
        }) == "channel_statistics: the data set has no images");
}

TEST_CASE("Compose applies its steps in order, with one stream") {
  const Image image = numbered(6, 6, 3);
  const Compose both(RandomCrop(4, 4, 1), HorizontalFlip(0.5));
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    RandomStream random(11, stream);
    Image expected = image;
    RandomCrop(4, 4, 1).apply(expected, random);
    HorizontalFlip(0.5).apply(expected, random);
    CHECK(equal(applied(both, image, stream), expected));
  }
  CHECK(equal(applied(Compose(), image), image));
  CHECK(Compose().description().empty());

  Compose grown(CenterCrop(4, 4));
  grown.then(std::make_shared<Cutout>(2)).then(std::make_shared<Compose>(Resize(2, 3)));
  CHECK(grown.description() == "CenterCrop(4x4)\nCutout(2x2)\nResize(2x3)");
  CHECK(message_of<Error>([&] { grown.then(nullptr); }) == "Compose: no transform given");
}

TEST_CASE("The usual pipelines") {
  CHECK(attune::cifar_train().description() ==
        "RandomCrop(32x32, padding 4)\n"
        "HorizontalFlip(probability 0.5)\n"
        "Normalize(mean [0.4914, 0.4822, 0.4465], deviation [0.247, 0.2435, 0.2616])");
  CHECK(attune::cifar_test(attune::imagenet_statistics()).description() ==
        "Normalize(mean [0.485, 0.456, 0.406], deviation [0.229, 0.224, 0.225])");
  CHECK(Resize::shorter_side(256).description() == "Resize(shorter side 256)");
}
