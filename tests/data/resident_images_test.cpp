#include <memory>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/image_batch.h"
#include "attune/data/data_loader.h"
#include "attune/data/synthetic_shapes.h"
#include "tests/catch.h"
#include "tests/test_util.h"

namespace attune {
namespace {

std::shared_ptr<const Dataset> shapes() {
  return std::make_shared<SyntheticShapes>(Domain::source, Split::train, 70);
}

/// All that two loaders give in some epochs, from a batch in the middle on, is the same.
void check_same_batches(const DataLoader& expected, const DataLoader& actual) {
  for (const std::int64_t epoch : {0, 1, 5}) {
    DataLoader::Epoch others = actual.epoch(epoch, epoch);
    for (const Batch& batch : expected.epoch(epoch, epoch)) {
      const std::optional<Batch> other = others.next();
      REQUIRE(other.has_value());
      CHECK(other->indices == batch.indices);
      CHECK(other->position == batch.position);
      CHECK(other->images.shape() == batch.images.shape());
      CHECK(other->images.dtype() == batch.images.dtype());
      CHECK(other->images.to_vector<double>() == batch.images.to_vector<double>());
      CHECK(other->targets.to_vector<std::int64_t>() == batch.targets.to_vector<std::int64_t>());
    }
    CHECK(!others.next().has_value());
  }
}

TEST_CASE("resident images: the very batches that workers make", "[resident_images]") {
  const std::vector<Compose> transforms{
      Compose(),
      cifar_test(synthetic_shapes_statistics()),
      Compose(RandomCrop(32, 32, 4)),
      Compose(RandomCrop(32, 32)),
      Compose(HorizontalFlip(0.3)),
      Compose(HorizontalFlip(1), Normalize(synthetic_shapes_statistics())),
      cifar_train(synthetic_shapes_statistics()),
  };
  for (const Compose& transform : transforms) {
    INFO(transform.description());
    for (const DType dtype : {DType::float32, DType::float64}) {
      DataLoaderOptions options{.batch_size = 9, .shuffle = true, .seed = 5, .dtype = dtype};
      const DataLoader made_by_workers(shapes(), transform, options);
      options.resident = true;
      check_same_batches(made_by_workers, DataLoader(shapes(), transform, options));
    }
  }
}

TEST_CASE("resident images: a byte a channel and eight a label", "[resident_images][memory]") {
  const std::int64_t before = memory_stats(Device::meta).total.live;
  const DataLoader loader(shapes(), cifar_train(),
                          {.batch_size = 16, .device = Device::meta, .resident = true});
  CHECK(memory_stats(Device::meta).total.live - before == 70 * (32 * 32 * 3 + 8));
  CHECK(loader.epoch(0).next()->images.device() == Device::meta);
}

TEST_CASE("resident images: what no kernel does is refused", "[resident_images][error]") {
  const auto message = [](const Compose& transform) {
    return test::message_of<Error>(
        [&] { DataLoader(shapes(), transform, {.batch_size = 16, .resident = true}); });
  };
  const std::string beginning =
      "data loader: a resident data set of 32x32x3 takes RandomCrop(32x32), HorizontalFlip and "
      "Normalize in this order, or some of them, but its transform is:\n";
  CHECK(message(Compose(Cutout(8))) == beginning + "Cutout(8x8)");
  CHECK(message(Compose(RandomCrop(28, 32, 2))) == beginning + "RandomCrop(28x32, padding 2)");
  CHECK(message(Compose(HorizontalFlip(), RandomCrop(32, 32, 4))) ==
        beginning + "HorizontalFlip(probability 0.5)\nRandomCrop(32x32, padding 4)");
  CHECK(message(Compose(Normalize({{0.5}, {0.2}}))) ==
        beginning + "Normalize(mean [0.5], deviation [0.2])");
}

TEST_CASE("make_image_batch names what is wrong", "[resident_images][error]") {
  const Tensor pixels = Tensor::zeros({5, 4, 3, 2}, DType::uint8);
  const Tensor labels = Tensor::zeros({5}, DType::int64), order = labels;
  Tensor images = Tensor::zeros({2, 4, 3, 2}), targets = Tensor::zeros({2}, DType::int64);
  const auto message = [&](Tensor& to, const Tensor& from, std::int64_t first) {
    return test::message_of<Error>(
        [&] { make_image_batch(to, targets, from, labels, order, first, {}); });
  };
  CHECK(message(images, pixels, 3).empty());
  CHECK(message(images, pixels, 4) ==
        "make_image_batch: 2 images from position 4 on, but there are 5 in the order");
  CHECK(message(images, Tensor::zeros({5, 4, 3, 2}), 0) ==
        "make_image_batch: pixels must be uint8 [5, 4, 3, 2] on cpu, but is float32 [5, 4, 3, 2] "
        "on cpu");
  CHECK(message(targets, pixels, 0) ==
        "make_image_batch: images must have 4 dimensions, but is int64 [2] on cpu");
  Tensor wide = Tensor::zeros({2, 4, 4, 2});
  CHECK(message(wide, pixels, 0) ==
        "make_image_batch: images must be float32 [2, 4, 3, 2] on cpu, but is float32 [2, 4, 4, 2] "
        "on cpu");
  CHECK(message(images, Tensor::zeros({5, 4, 3, 5}, DType::uint8), 0) ==
        "make_image_batch: pixels uint8 [5, 4, 3, 5] on cpu have more than 4 channels");
}

}  // namespace
}  // namespace attune
