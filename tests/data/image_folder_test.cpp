#include "attune/data/image_folder.h"

#include <cstdlib>

#include "attune/core/error.h"
#include "image_files.h"
#include "temporary_directory.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::ByteImage;
using attune::Error;
using attune::ImageFolder;
using attune::read_image;
using attune::test::contains;
using attune::test::encode_bmp;
using attune::test::encode_jpeg;
using attune::test::encode_png;
using attune::test::make_image;
using attune::test::message_of;
using attune::test::png_of_data;
using attune::test::TemporaryDirectory;
using attune::test::write_file;

namespace {

std::string read_error(const std::string& path, const attune::ImageFileLimits& limits = {}) {
  return message_of<Error>([&] { read_image(path, limits); });
}

std::string open_error(const std::filesystem::path& path,
                       const std::vector<std::string>& classes = {}) {
  return message_of<Error>([&] { ImageFolder(path, classes); });
}

}  // namespace

TEST_CASE("PNG and BMP files are read exactly, JPEG nearly") {
  const TemporaryDirectory directory;
  const ByteImage image = make_image(17, 23, 3, 1);
  write_file(directory.file("a.png"), encode_png(image));
  write_file(directory.file("a.bmp"), encode_bmp(image));
  for (const std::string name : {"a.png", "a.bmp"}) {
    const ByteImage read = read_image(directory.file(name));
    CHECK(read.size == image.size);
    CHECK(read.pixels == image.pixels);
  }
  write_file(directory.file("a.jpg"), encode_jpeg(image));
  const ByteImage read = read_image(directory.file("a.jpg"));
  REQUIRE(read.size == image.size);
  double error = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    error += std::abs(int{read.pixels[i]} - int{image.pixels[i]});
  }
  CHECK(error / static_cast<double>(image.pixels.size()) <= 10);
}

TEST_CASE("Grey images are repeated in three channels, alpha is dropped") {
  const TemporaryDirectory directory;
  const ByteImage grey = make_image(3, 4, 1, 2);
  write_file(directory.file("grey.png"), encode_png(grey));
  const ByteImage from_grey = read_image(directory.file("grey.png"));
  REQUIRE(from_grey.size == attune::ImageSize{3, 4, 3});
  const ByteImage transparent = make_image(3, 4, 4, 3);
  write_file(directory.file("alpha.png"), encode_png(transparent));
  const ByteImage opaque = read_image(directory.file("alpha.png"));
  REQUIRE(opaque.size == attune::ImageSize{3, 4, 3});
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 4; ++x) {
      for (int c = 0; c < 3; ++c) {
        CHECK(from_grey.at(y, x)[c] == grey.at(y, x)[0]);
        CHECK(opaque.at(y, x)[c] == transparent.at(y, x)[c]);
      }
    }
  }
}

TEST_CASE("An unreadable image is an error with its path and the reason") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("broken.png");
  CHECK(read_error(path) == "image " + path + ": No such file or directory");
  write_file(path, "");
  CHECK(read_error(path) == "image " + path + ": the file is empty");
  write_file(path, "no image at all");
  CHECK(contains(read_error(path), "image " + path + ": Image not of any known type"));
  const std::string png = encode_png(make_image(20, 20, 3, 4));
  write_file(path, png.substr(0, png.size() / 2));
  const std::string truncated = read_error(path);
  CHECK(truncated == "image " + path + ": Corrupt PNG");
}

TEST_CASE("Image files are kept within limits") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a.png");
  const std::string png = encode_png(make_image(20, 30, 3, 5));
  write_file(path, png);
  CHECK(read_error(path, {.max_pixels = 600}).empty());
  CHECK(read_error(path, {.max_pixels = 599}) ==
        "image " + path + ": 20 x 30 pixels (height x width), more than the limit of 599");
  const auto bytes = static_cast<std::int64_t>(png.size());
  CHECK(read_error(path, {.max_file_bytes = bytes}).empty());
  CHECK(read_error(path, {.max_file_bytes = bytes - 1}) ==
        "image " + path + ": the file has " + std::to_string(bytes) +
            " bytes, more than the limit of " + std::to_string(bytes - 1));
}

TEST_CASE("A small file that unpacks to much more than its image is refused") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("bomb.png");
  // One grey pixel takes two bytes: the row's filter type and the value.
  write_file(path, png_of_data(1, 1, std::string(2, '\0')));
  CHECK(read_error(path).empty());
  write_file(path, png_of_data(1, 1, std::string(std::size_t{8} << 20, '\0')));
  CHECK(std::filesystem::file_size(path) < 100000);
  CHECK(read_error(path) == "image " + path + ": Out of memory");
}

TEST_CASE("An image folder has one class per folder, in alphabetical order") {
  const TemporaryDirectory directory;
  const ByteImage first = make_image(5, 6, 3, 1);
  const ByteImage second = make_image(8, 3, 3, 2);
  const ByteImage third = make_image(4, 4, 3, 3);
  write_file(directory.path() / "tulip" / "b.PNG", encode_png(third));
  write_file(directory.path() / "daisy" / "z.bmp", encode_bmp(second));
  write_file(directory.path() / "daisy" / "deep" / "a.png", encode_png(first));
  write_file(directory.path() / "daisy" / "notes.txt", "not an image");
  write_file(directory.path() / "daisy" / ".hidden.png", "not an image");
  write_file(directory.path() / ".git" / "a.png", "not an image");
  write_file(directory.path() / "readme.png", "not in a folder");

  const ImageFolder dataset(directory.path());
  CHECK(dataset.classes() == std::vector<std::string>{"daisy", "tulip"});
  REQUIRE(dataset.size() == 3);
  CHECK(dataset.image_size() == attune::ImageSize{0, 0, 3});
  const std::vector<const ByteImage*> images{&first, &second, &third};
  const std::vector<std::string> names{"daisy/deep/a.png", "daisy/z.bmp", "tulip/b.PNG"};
  for (std::size_t i = 0; i < 3; ++i) {
    const attune::Sample sample = dataset.get(static_cast<std::int64_t>(i));
    CHECK(sample.label == (i == 2 ? 1 : 0));
    CHECK(sample.image.size == images[i]->size);
    CHECK(sample.image.pixels == images[i]->pixels);
    CHECK(dataset.sample_name(static_cast<std::int64_t>(i)) == directory.file(names[i]));
  }
  CHECK(message_of<Error>([&] { dataset.get(3); }) ==
        "dataset: index 3 is out of range, there are 3 images");
}

TEST_CASE("A link to nowhere is an image that cannot be read, not one image less") {
  const TemporaryDirectory directory;
  write_file(directory.path() / "cat" / "a.png", encode_png(make_image(4, 4, 3, 1)));
  std::filesystem::create_symlink(directory.path() / "none", directory.path() / "cat" / "b.png");
  const ImageFolder dataset(directory.path());
  REQUIRE(dataset.size() == 2);
  CHECK(message_of<Error>([&] { dataset.get(1); }) ==
        "image " + directory.file("cat/b.png") + ": No such file or directory");
}

TEST_CASE("An image folder without classes or images is refused") {
  const TemporaryDirectory directory;
  const std::string path = directory.path().string();
  CHECK(open_error(directory.path() / "none") ==
        "image folder: " + directory.file("none") + " is not a directory");
  CHECK(open_error(path) == "image folder: " + path + " has no folders; each class needs one");
  write_file(directory.path() / "cat" / "a.png", "opened only when it is loaded");
  write_file(directory.path() / "dog" / "a.txt", "");
  CHECK(open_error(path) == "image folder: no image in " + directory.file("dog") +
                                " (looked for .png .jpg .jpeg .bmp .gif .ppm .pgm)");
  write_file(directory.path() / "dog" / "a.jpeg", "");
  CHECK(open_error(path).empty());
  CHECK(open_error(path, {"cat", "dog"}).empty());
  CHECK(open_error(path, {"cat", "cow"}) ==
        "image folder: " + path + " has the classes [cat, dog], expected [cat, cow]");
  CHECK(contains(message_of<Error>([&] { ImageFolder(directory.path()).get(0); }),
                 "image " + directory.file("cat/a.png") + ": Image not of any known type"));
}
