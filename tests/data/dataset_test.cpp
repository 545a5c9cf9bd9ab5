#include "attune/data/dataset.h"

#include <algorithm>
#include <set>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::Dataset;
using attune::Error;
using attune::InMemoryDataset;
using attune::Sample;
using attune::Subset;
using attune::test::message_of;

namespace {

// 1x2 grey images; image i holds {i, i + 100} and has label i % 3.
std::shared_ptr<InMemoryDataset> numbered(std::int64_t count) {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    pixels.push_back(static_cast<std::uint8_t>(i));
    pixels.push_back(static_cast<std::uint8_t>(i + 100));
    labels.push_back(i % 3);
  }
  return std::make_shared<InMemoryDataset>("numbered", std::vector<std::string>{"a", "b", "c"},
                                           attune::ImageSize{1, 2, 1}, pixels, labels);
}

std::vector<std::int64_t> originals(const Subset& subset) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < subset.size(); ++i) indices.push_back(subset.original_index(i));
  return indices;
}

}  // namespace

TEST_CASE("A data set in memory gives back what it was made of") {
  const auto dataset = numbered(5);
  CHECK(dataset->size() == 5);
  CHECK(dataset->classes() == std::vector<std::string>{"a", "b", "c"});
  CHECK(dataset->image_size() == attune::ImageSize{1, 2, 1});
  CHECK(dataset->sample_name(4) == "numbered image 4");
  const Sample sample = dataset->get(4);
  CHECK(sample.label == 1);
  CHECK(sample.image.size == attune::ImageSize{1, 2, 1});
  CHECK(sample.image.pixels == std::vector<std::uint8_t>{4, 104});
}

TEST_CASE("A data set refuses an index out of range") {
  const auto dataset = numbered(5);
  for (const std::int64_t index : {-1, 5}) {
    const std::string expected =
        "dataset: index " + std::to_string(index) + " is out of range, there are 5 images";
    CHECK(message_of<Error>([&] { dataset->get(index); }) == expected);
    CHECK(message_of<Error>([&] { dataset->label(index); }) == expected);
  }
}

TEST_CASE("A data set in memory refuses parts that do not fit") {
  using Bytes = std::vector<std::uint8_t>;
  const auto make = [](attune::ImageSize size, Bytes pixels, std::vector<std::int64_t> labels) {
    return message_of<Error>([&] { InMemoryDataset("set", {"a", "b"}, size, pixels, labels); });
  };
  CHECK(make({1, 2, 1}, Bytes(4), {0, 1}).empty());
  CHECK(make({1, 2, 1}, Bytes(3), {0, 1}) == "set: 3 bytes of pixels for 2 images of 1x2x1");
  CHECK(make({0, 2, 1}, {}, {}) == "set: 0 bytes of pixels for 0 images of 0x2x1");
  CHECK(make({1, 1, 1}, Bytes(2), {0, 2}) == "set: image 1 has label 2, but there are 2 classes");
  CHECK(make({1, 1, 1}, Bytes(2), {-1, 0}) == "set: image 0 has label -1, but there are 2 classes");
}

TEST_CASE("A subset shows the images chosen") {
  const auto dataset = numbered(9);
  const Subset subset(dataset, {7, 2});
  CHECK(subset.size() == 2);
  CHECK(subset.classes() == dataset->classes());
  CHECK(subset.image_size() == dataset->image_size());
  CHECK(subset.get(0).image.pixels == dataset->get(7).image.pixels);
  CHECK(subset.label(1) == 2);
  CHECK(subset.sample_name(1) == "numbered image 2");
  CHECK(subset.original_index(0) == 7);
  CHECK(message_of<Error>([&] { subset.get(2); }) ==
        "dataset: index 2 is out of range, there are 2 images");
  CHECK(message_of<Error>([&] {
          Subset(dataset, {0, 9});
        }) == "subset: index 9 is out of range, the data set has 9 images");
  CHECK(message_of<Error>([&] { Subset(nullptr, {}); }) == "subset: no data set given");
}

TEST_CASE("The first images of each class") {
  const auto dataset = numbered(8);  // labels 0 1 2 0 1 2 0 1
  CHECK(originals(*Subset::first_per_class(dataset, 1)) == std::vector<std::int64_t>{0, 1, 2});
  CHECK(originals(*Subset::first_per_class(dataset, 2)) ==
        std::vector<std::int64_t>{0, 1, 2, 3, 4, 5});
  CHECK(Subset::first_per_class(dataset, 3)->size() == 8);
  CHECK(message_of<Error>([&] { Subset::first_per_class(dataset, 0); }) ==
        "subset: 0 images per class asked for");
}

TEST_CASE("Fractions with one seed divide a data set") {
  const auto dataset = numbered(50);
  const auto first = originals(*Subset::fraction(dataset, 0, 0.3, 7));
  const auto rest = originals(*Subset::fraction(dataset, 0.3, 1, 7));
  CHECK(first.size() == 15);
  std::set<std::int64_t> all(first.begin(), first.end());
  all.insert(rest.begin(), rest.end());
  CHECK(all.size() == 50);
  CHECK(first.size() + rest.size() == 50);

  CHECK(first == originals(*Subset::fraction(dataset, 0, 0.3, 7)));
  CHECK(first != originals(*Subset::fraction(dataset, 0, 0.3, 8)));
  CHECK(!std::is_sorted(first.begin(), first.end()));
  CHECK(Subset::fraction(dataset, 0.5, 0.5, 7)->size() == 0);
  CHECK(message_of<Error>([&] { Subset::fraction(dataset, 0.5, 0.4, 7); }) ==
        "subset: fractions 0.5 to 0.4 are not an interval within 0 to 1");
  CHECK(message_of<Error>([&] { Subset::fraction(dataset, 0, 1.5, 7); }) ==
        "subset: fractions 0 to 1.5 are not an interval within 0 to 1");
}
