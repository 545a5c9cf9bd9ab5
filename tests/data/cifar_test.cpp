#include "attune/data/cifar.h"

#include <cstdlib>
#include <iostream>

#include "attune/core/error.h"
#include "attune/data/transforms.h"
#include "temporary_directory.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::Cifar10;
using attune::Cifar100;
using attune::Error;
using attune::Split;
using attune::test::contains;
using attune::test::message_of;
using attune::test::TemporaryDirectory;
using attune::test::write_file;

namespace {

constexpr int kPlane = 32 * 32;

// What plane c of the made-up image `id` holds at `position`.
std::uint8_t plane_value(int id, int c, int position) {
  return static_cast<std::uint8_t>(id * 31 + c * 77 + position * 5 + position / 32);
}

std::string record(std::vector<int> labels, int id) {
  std::string bytes(labels.begin(), labels.end());
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < kPlane; ++i) bytes += static_cast<char>(plane_value(id, c, i));
  }
  return bytes;
}

bool is_image(const attune::ByteImage& image, int id) {
  bool equal = image.size == attune::ImageSize{32, 32, 3} && image.pixels.size() == 3 * kPlane;
  for (int y = 0; equal && y < 32; ++y) {
    for (int x = 0; x < 32; ++x) {
      for (int c = 0; c < 3; ++c) {
        equal = equal && image.at(y, x)[c] == plane_value(id, c, 32 * y + x);
      }
    }
  }
  return equal;
}

std::string names(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "class" + std::to_string(i) + "\n";
  return text + "\n";  // the official file ends in an empty line, too
}

// Batch b (from 1) has the images 2b and 2b + 1, with labels b and b + 1; the test batch is 0.
void write_cifar10(const std::filesystem::path& folder) {
  for (int b = 0; b <= 5; ++b) {
    const std::string name = b == 0 ? "test_batch.bin" : "data_batch_" + std::to_string(b) + ".bin";
    write_file(folder / name, record({b}, 2 * b) + record({b + 1}, 2 * b + 1));
  }
  write_file(folder / "batches.meta.txt", names(10));
}

void write_cifar100(const std::filesystem::path& folder) {
  write_file(folder / "train.bin", record({19, 99}, 0) + record({0, 1}, 1) + record({3, 50}, 2));
  write_file(folder / "test.bin", record({7, 42}, 3));
  write_file(folder / "fine_label_names.txt", names(100));
}

std::string error10(const TemporaryDirectory& directory, Split split = Split::train) {
  return message_of<Error>([&] { Cifar10(directory.path(), split); });
}

std::string error100(const TemporaryDirectory& directory, Split split = Split::train) {
  return message_of<Error>([&] { Cifar100(directory.path(), split); });
}

}  // namespace

TEST_CASE("CIFAR-10 is read from its folder or that folder's parent") {
  for (const std::string folder : {".", "cifar-10-batches-bin"}) {
    const TemporaryDirectory directory;
    write_cifar10(directory.path() / folder);
    write_cifar100(directory.path() / "cifar-100-binary");

    const Cifar10 train(directory.path(), Split::train);
    REQUIRE(train.size() == 10);
    REQUIRE(train.classes().size() == 10);
    CHECK(train.classes()[9] == "class9");
    CHECK(train.image_size() == attune::ImageSize{32, 32, 3});
    CHECK(train.sample_name(3) == "CIFAR-10 train image 3");
    for (int i = 0; i < 10; ++i) {
      const attune::Sample sample = train.get(i);
      CHECK(sample.label == (i / 2 + 1) + i % 2);
      CHECK(is_image(sample.image, i + 2));
    }

    const Cifar10 test(directory.path(), Split::test);
    REQUIRE(test.size() == 2);
    CHECK(test.label(0) == 0);
    CHECK(is_image(test.get(1).image, 1));
    CHECK(test.sample_name(1) == "CIFAR-10 test image 1");
  }
}

TEST_CASE("CIFAR-100 has fine labels") {
  for (const std::string folder : {".", "cifar-100-binary"}) {
    const TemporaryDirectory directory;
    write_cifar10(directory.path() / "cifar-10-batches-bin");
    write_cifar100(directory.path() / folder);
    const Cifar100 train(directory.path(), Split::train);
    REQUIRE(train.size() == 3);
    CHECK(train.classes().size() == 100);
    CHECK(train.label(0) == 99);
    CHECK(train.label(2) == 50);
    CHECK(is_image(train.get(2).image, 2));
    const Cifar100 test(directory.path(), Split::test);
    REQUIRE(test.size() == 1);
    CHECK(test.label(0) == 42);
    CHECK(is_image(test.get(0).image, 3));
  }
}

TEST_CASE("A missing CIFAR is reported with the way to get it") {
  const TemporaryDirectory directory;
  CHECK(error10(directory) ==
        "CIFAR-10: no data_batch_1.bin in " + directory.path().string() + " or " +
            directory.file("cifar-10-batches-bin") +
            "; to download it: cmake -DDATASET=cifar10 -DDIRECTORY=<directory> -P "
            "data/download.cmake");
  CHECK(contains(error100(directory, Split::test), "CIFAR-100: no test.bin in "));
  CHECK(contains(error100(directory), "cmake -DDATASET=cifar100 "));

  write_cifar10(directory.path());
  std::filesystem::remove(directory.path() / "data_batch_4.bin");
  CHECK(contains(error10(directory),
                 "CIFAR-10: " + directory.file("data_batch_4.bin") + " is missing; to download"));
  CHECK(error10(directory, Split::test).empty());
  std::filesystem::remove(directory.path() / "batches.meta.txt");
  CHECK(contains(error10(directory, Split::test),
                 "CIFAR-10: " + directory.file("batches.meta.txt") + " is missing; "));
}

TEST_CASE("A CIFAR file of the wrong size is refused") {
  const TemporaryDirectory directory;
  write_cifar10(directory.path());
  const std::string file = directory.file("data_batch_5.bin");
  std::filesystem::resize_file(file, 2 * 3073 - 1);
  CHECK(error10(directory) == "CIFAR-10: " + file +
                                  " has 6145 bytes, expected a positive multiple of 3073 (one "
                                  "image)");
  std::filesystem::resize_file(file, 0);
  CHECK(contains(error10(directory), " has 0 bytes, expected a positive multiple"));
  std::filesystem::resize_file(file, 3073);
  CHECK(error10(directory).empty());

  write_cifar100(directory.path());
  std::filesystem::resize_file(directory.file("test.bin"), 3075);
  CHECK(contains(error100(directory, Split::test),
                 directory.file("test.bin") + " has 3075 bytes, expected a positive multiple of "
                                              "3074"));
}

TEST_CASE("A CIFAR label that is no class is refused") {
  const TemporaryDirectory directory;
  write_cifar10(directory.path());
  const std::string file = directory.file("data_batch_2.bin");
  write_file(file, record({9}, 0) + record({0}, 1) + record({10}, 2));
  CHECK(error10(directory) == "CIFAR-10: " + file + ": label 10 at byte 6146, expected 0 to 9");
  write_file(file, record({255}, 0));
  CHECK(contains(error10(directory), ": label 255 at byte 0, expected 0 to 9"));

  write_cifar100(directory.path());
  const std::string train = directory.file("train.bin");
  write_file(train, record({0, 0}, 0) + record({0, 100}, 0));
  CHECK(error100(directory) ==
        "CIFAR-100: " + train + ": label 100 at byte 3075, expected 0 to 99");
  write_file(train, record({0, 0}, 0) + record({20, 0}, 0));
  CHECK(error100(directory) == "CIFAR-100: " + train + ": label 20 at byte 3074, expected 0 to 19");
}

TEST_CASE("CIFAR class names are counted") {
  const TemporaryDirectory directory;
  write_cifar10(directory.path());
  const std::string file = directory.file("batches.meta.txt");
  write_file(file, names(9));
  CHECK(error10(directory) == "CIFAR-10: " + file + " has 9 class names, expected 10");
  write_file(file, "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nj\r\n\r\n");
  CHECK(Cifar10(directory.path(), Split::train).classes().back() == "j");
}

TEST_CASE("The real CIFAR has the published statistics") {
  const char* directory = std::getenv("ATTUNE_CIFAR_DIR");
  if (directory == nullptr) {
    std::cout << "ATTUNE_CIFAR_DIR is not set: the real CIFAR was not checked\n";
    return;
  }
  const auto check = [](const attune::Dataset& dataset, const attune::ChannelStatistics& expected) {
    const attune::ChannelStatistics actual = attune::channel_statistics(dataset);
    for (std::size_t c = 0; c < 3; ++c) {
      CHECK(std::abs(actual.mean[c] - expected.mean[c]) <= 0.0001);
      CHECK(std::abs(actual.deviation[c] - expected.deviation[c]) <= 0.0001);
    }
    std::vector<std::int64_t> counts(dataset.classes().size());
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      ++counts[static_cast<std::size_t>(dataset.label(i))];
    }
    const auto per_class = dataset.size() / static_cast<std::int64_t>(counts.size());
    CHECK(counts == std::vector<std::int64_t>(counts.size(), per_class));
  };
  const Cifar10 ten(directory, Split::train);
  CHECK(ten.size() == 50000);
  CHECK(ten.classes()[3] == "cat");
  check(ten, attune::cifar10_statistics());
  const Cifar100 hundred(directory, Split::train);
  CHECK(hundred.size() == 50000);
  CHECK(hundred.classes()[0] == "apple");
  check(hundred, attune::cifar100_statistics());
  CHECK(Cifar10(directory, Split::test).size() == 10000);
  CHECK(Cifar100(directory, Split::test).size() == 10000);
}
