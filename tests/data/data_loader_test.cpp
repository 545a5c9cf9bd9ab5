#include "attune/data/data_loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "attune/core/error.h"
#include "attune/data/image_folder.h"
#include "attune/data/synthetic_shapes.h"
#include "image_files.h"
#include "temporary_directory.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using attune::Batch;
using attune::Compose;
using attune::DataLoader;
using attune::DataLoaderOptions;
using attune::Dataset;
using attune::DType;
using attune::Error;
using attune::ImageFolder;
using attune::Shape;
using attune::test::contains;
using attune::test::message_of;
using attune::test::TemporaryDirectory;
using attune::test::write_file;

namespace {

std::shared_ptr<const Dataset> shapes(std::int64_t count) {
  return std::make_shared<attune::SyntheticShapes>(attune::Domain::source, attune::Split::train,
                                                   count);
}

/// Everything that an epoch gave.
struct Seen {
  std::vector<float> pixels;
  std::vector<std::int64_t> targets;
  std::vector<std::int64_t> indices;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> positions;

  friend bool operator==(const Seen&, const Seen&) = default;

  void add(const Batch& batch) {
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(pixels, batch.images.to_vector<float>());
    append(targets, batch.targets.to_vector<std::int64_t>());
    append(indices, batch.indices);
    sizes.push_back(batch.size());
    positions.push_back(batch.position);
  }
};

Seen run(DataLoader::Epoch epoch) {
  Seen seen;
  for (const Batch& batch : epoch) seen.add(batch);
  return seen;
}

std::vector<std::int64_t> counting(std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

const DataLoaderOptions kShuffled{.batch_size = 8, .shuffle = true, .seed = 3, .workers = 2};

/// Loading image `bad` fails; others take a time that depends on their index, so that workers
/// finish out of order.
class FailingDataset : public attune::InMemoryDataset {
 public:
  FailingDataset(std::int64_t count, std::int64_t bad)
      : InMemoryDataset("failing", {"a"}, {1, 1, 1},
                        std::vector<std::uint8_t>(static_cast<std::size_t>(count)),
                        std::vector<std::int64_t>(static_cast<std::size_t>(count))),
        bad_(bad) {}

  void load(std::int64_t index, attune::ByteImage& image) const override {
    ++loads;
    std::this_thread::sleep_for(std::chrono::microseconds(index * 7 % 5 * 100));
    if (index >= bad_) throw Error("cannot load image " + std::to_string(index));
    InMemoryDataset::load(index, image);
  }

  mutable std::atomic<int> loads = 0;

 private:
  std::int64_t bad_;
};

}  // namespace

TEST_CASE("Without shuffling or transforms, batches are the data set in order") {
  const auto dataset = shapes(20);
  const DataLoader loader(dataset, Compose(), {.batch_size = 8});
  CHECK(loader.batches() == 3);
  const Seen seen = run(loader.epoch(0));
  CHECK(seen.sizes == std::vector<std::int64_t>{8, 8, 4});
  CHECK(seen.positions == std::vector<std::int64_t>{0, 1, 2});
  CHECK(seen.indices == counting(20));
  std::vector<float> pixels;
  for (std::int64_t i = 0; i < 20; ++i) {
    const attune::Sample sample = dataset->get(i);
    CHECK(seen.targets[static_cast<std::size_t>(i)] == sample.label);
    for (const std::uint8_t value : sample.image.pixels) {
      pixels.push_back(static_cast<float>(value) / 255.0f);
    }
  }
  CHECK(seen.pixels == pixels);
}

TEST_CASE("A batch has the shapes and dtypes of a network's input") {
  const auto dataset = shapes(10);
  const DataLoader loader(dataset, attune::cifar_train(), {.batch_size = 4});
  auto epoch = loader.epoch(0);
  const Batch batch = *epoch.next();
  CHECK(batch.images.shape() == Shape{4, 32, 32, 3});
  CHECK(batch.images.dtype() == DType::float32);
  CHECK(batch.targets.shape() == Shape{4});
  CHECK(batch.targets.dtype() == DType::int64);
  CHECK(!batch.images.requires_grad());

  const DataLoader wide(dataset, attune::cifar_train(), {.batch_size = 4, .dtype = DType::float64});
  auto wide_epoch = wide.epoch(0);
  const Batch wide_batch = *wide_epoch.next();
  CHECK(wide_batch.images.dtype() == DType::float64);
  CHECK(wide_batch.images.to_vector<float>() == batch.images.to_vector<float>());
}

TEST_CASE("Batches do not depend on the number of workers or the prefetch depth") {
  const auto dataset = shapes(83);
  const Compose transform(attune::RandomCrop(32, 32, 4), attune::HorizontalFlip(),
                          attune::Normalize(attune::synthetic_shapes_statistics()),
                          attune::Cutout(8));
  DataLoaderOptions options = kShuffled;
  options.workers = 0;
  const DataLoader alone(dataset, transform, options);
  const std::vector<Seen> expected{run(alone.epoch(0)), run(alone.epoch(7))};
  CHECK(expected[0].pixels != expected[1].pixels);
  for (const int workers : {0, 1, 2, 5}) {
    for (const int prefetch : {1, 2, 7, 100}) {
      INFO(workers << " workers, prefetch " << prefetch);
      options.workers = workers;
      options.prefetch = prefetch;
      const DataLoader loader(dataset, transform, options);
      CHECK(run(loader.epoch(0)) == expected[0]);
      CHECK(run(loader.epoch(7)) == expected[1]);
    }
  }
}

TEST_CASE("An epoch visits every image once, each epoch in another order") {
  const DataLoader loader(shapes(50), Compose(), kShuffled);
  std::set<std::vector<std::int64_t>> orders;
  for (std::int64_t e = 0; e < 5; ++e) {
    std::vector<std::int64_t> indices = run(loader.epoch(e)).indices;
    CHECK(indices == loader.order(e));
    orders.insert(indices);
    std::sort(indices.begin(), indices.end());
    CHECK(indices == counting(50));
  }
  CHECK(orders.size() == 5);
  CHECK(!orders.contains(counting(50)));

  DataLoaderOptions other_seed = kShuffled;
  other_seed.seed = 4;
  CHECK(!orders.contains(DataLoader(shapes(50), Compose(), other_seed).order(0)));
}

TEST_CASE("Every order of a few images is about equally likely") {
  DataLoaderOptions options = kShuffled;
  options.batch_size = 4;
  const DataLoader loader(shapes(4), Compose(), options);
  std::map<std::vector<std::int64_t>, int> counts;
  for (std::int64_t e = 0; e < 2400; ++e) ++counts[loader.order(e)];
  CHECK(counts.size() == 24);
  for (const auto& [order, count] : counts) CHECK(std::abs(count - 100) <= 50);
}

TEST_CASE("The augmentation of an image depends on seed, epoch and index, not on its place") {
  const auto dataset = shapes(30);
  const Compose crop(attune::RandomCrop(32, 32, 8));
  const auto by_index = [&](const DataLoaderOptions& options, std::int64_t epoch) {
    const Seen seen = run(DataLoader(dataset, crop, options).epoch(epoch));
    std::map<std::int64_t, std::vector<float>> images;
    for (std::size_t i = 0; i < seen.indices.size(); ++i) {
      const auto begin = seen.pixels.begin() + static_cast<std::ptrdiff_t>(i) * 3072;
      images[seen.indices[i]].assign(begin, begin + 3072);
    }
    return images;
  };
  DataLoaderOptions in_order = kShuffled;
  in_order.shuffle = false;
  in_order.batch_size = 7;
  CHECK(by_index(kShuffled, 2) == by_index(in_order, 2));
  CHECK(by_index(kShuffled, 2) != by_index(kShuffled, 3));
  in_order.seed = 4;
  CHECK(by_index(kShuffled, 2) != by_index(in_order, 2));
}

TEST_CASE("An epoch can be taken up in the middle") {
  const DataLoader loader(shapes(50), attune::cifar_train(), kShuffled);
  const Seen whole = run(loader.epoch(1));
  for (std::int64_t first = 0; first <= loader.batches(); ++first) {
    Seen expected;
    auto epoch = loader.epoch(1);
    while (auto batch = epoch.next()) {
      if (batch->position >= first) expected.add(*batch);
    }
    CHECK(run(loader.epoch(1, first)) == expected);
  }
  CHECK(message_of<Error>([&] { loader.epoch(1, 8); }) ==
        "data loader: batch 8 is not within the 7 of an epoch");
  CHECK(message_of<Error>([&] { loader.epoch(1, -1); }) ==
        "data loader: batch -1 is not within the 7 of an epoch");
  CHECK(message_of<Error>([&] { loader.epoch(-1); }) == "data loader: epoch -1 is negative");
}

TEST_CASE("drop_last leaves out the batch that is not full") {
  DataLoaderOptions options = kShuffled;
  options.drop_last = true;
  const DataLoader loader(shapes(20), Compose(), options);
  CHECK(loader.batches() == 2);
  CHECK(run(loader.epoch(0)).sizes == std::vector<std::int64_t>{8, 8});
  const DataLoader exact(shapes(16), Compose(), options);
  CHECK(exact.batches() == 2);
}

TEST_CASE("The end of an epoch is the end") {
  const DataLoader loader(shapes(9), Compose(), kShuffled);
  auto epoch = loader.epoch(0);
  CHECK(epoch.next().has_value());
  CHECK(epoch.next().has_value());
  CHECK(!epoch.next().has_value());
  CHECK(!epoch.next().has_value());
}

TEST_CASE("A loader refuses options that make no sense") {
  const auto error = [](std::shared_ptr<const Dataset> dataset, const DataLoaderOptions& options) {
    return message_of<Error>([&] { DataLoader(dataset, Compose(), options); });
  };
  CHECK(error(nullptr, {}) == "data loader: no data set given");
  CHECK(error(shapes(5), {.batch_size = 0}) == "data loader: batch_size is 0, expected at least 1");
  CHECK(error(shapes(5), {.workers = -1}) == "data loader: workers is -1, expected at least 0");
  CHECK(error(shapes(5), {.prefetch = 0}) == "data loader: prefetch is 0, expected at least 1");
  CHECK(error(shapes(5), {.dtype = DType::int64}) ==
        "data loader: dtype is int64, expected float32 or float64");
  CHECK(error(shapes(0), {}) == "data loader: 0 images do not give one batch of 128");
  CHECK(error(shapes(5), {.batch_size = 6, .drop_last = true}) ==
        "data loader: 5 images do not give one batch of 6 (drop_last is on)");
}

TEST_CASE("What fails in a worker is thrown when its batch has its turn") {
  for (const int workers : {0, 1, 2, 5}) {
    INFO(workers << " workers");
    // Images 21, 22, ... fail: the third batch with the first of them, and all later ones.
    const auto dataset = std::make_shared<FailingDataset>(80, 21);
    const DataLoader loader(dataset, Compose(), {.batch_size = 8, .workers = workers});
    auto epoch = loader.epoch(0);
    CHECK(epoch.next().has_value());
    CHECK(epoch.next().has_value());
    CHECK(message_of<Error>([&] { epoch.next(); }) == "cannot load image 21");
    CHECK(!epoch.next().has_value());
  }
}

TEST_CASE("Errors of files and transforms name the file") {
  const TemporaryDirectory directory;
  write_file(directory.path() / "a" / "1.png",
             attune::test::encode_png(attune::test::make_image(8, 8, 3, 1)));
  write_file(directory.path() / "a" / "2.png",
             attune::test::encode_png(attune::test::make_image(9, 8, 3, 1)));
  const std::string first = directory.file("a/1.png");
  const std::string second = directory.file("a/2.png");
  const auto dataset = std::make_shared<ImageFolder>(directory.path());
  const auto error = [&](const Compose& transform) {
    return message_of<Error>([&] { run(DataLoader(dataset, transform, {}).epoch(0)); });
  };
  CHECK(error(Compose(attune::Resize(8, 8))).empty());
  CHECK(error(Compose()) == "data loader: " + first + " is 8x8x3 and " + second +
                                " is 9x8x3; images of one batch must have one size (add a Resize "
                                "or a CenterCrop to the transform)");
  CHECK(error(Compose(attune::CenterCrop(9, 8))) ==
        "data loader: " + first + ": CenterCrop(9x8): larger than the image 8x8x3");
  write_file(second, "broken");
  CHECK(contains(error(Compose()), "image " + second + ": Image not of any known type"));
}

TEST_CASE("An epoch may be left at any time") {
  const auto dataset = std::make_shared<FailingDataset>(400, 400);
  for (const int workers : {0, 1, 2, 5}) {
    for (const std::int64_t wanted : {0, 1, 3}) {
      const DataLoader loader(dataset, Compose(), {.batch_size = 4, .workers = workers});
      std::int64_t seen = 0;
      auto epoch = loader.epoch(0);
      while (seen < wanted && epoch.next()) ++seen;
      CHECK(seen == wanted);
    }
  }
  // Nobody goes on in the background.
  const int loads = dataset->loads;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(dataset->loads == loads);
  CHECK(loads < 12 * 400);
}

TEST_CASE("An epoch outlives its loader and can be moved") {
  auto loader = std::make_unique<DataLoader>(shapes(30), attune::cifar_train(), kShuffled);
  const Seen expected = run(loader->epoch(0));
  auto epoch = loader->epoch(0);
  loader.reset();
  Seen seen;
  seen.add(*epoch.next());
  auto moved = std::move(epoch);
  while (auto batch = moved.next()) seen.add(*batch);
  CHECK(seen == expected);
}

TEST_CASE("The memory of tensors does not depend on the workers") {
  const auto dataset = shapes(64);
  const std::int64_t batch_bytes = 8 * 3072 * 4 + 8 * 8;
  for (const int workers : {0, 1, 5}) {
    INFO(workers << " workers");
    const std::int64_t before = attune::memory_stats(attune::Device::cpu).total.live;
    const DataLoader loader(dataset, attune::cifar_train(), {.batch_size = 8, .workers = workers});
    attune::MemoryScope scope(attune::Device::cpu);
    for (const Batch& batch : loader.epoch(0)) {
      CHECK(attune::memory_stats(attune::Device::cpu).total.live - before == batch_bytes);
      CHECK(batch.size() == 8);
    }
    CHECK(scope.peak_above_start() == batch_bytes);
    CHECK(attune::memory_stats(attune::Device::cpu).total.live == before);
  }
}

TEST_CASE("Several epochs of one loader at once") {
  const DataLoader loader(shapes(60), attune::cifar_train(), kShuffled);
  const Seen expected0 = run(loader.epoch(0));
  const Seen expected1 = run(loader.epoch(1));
  auto first = loader.epoch(0);
  auto second = loader.epoch(1);
  Seen seen0;
  Seen seen1;
  for (std::int64_t i = 0; i < loader.batches(); ++i) {
    seen0.add(*first.next());
    seen1.add(*second.next());
  }
  CHECK(seen0 == expected0);
  CHECK(seen1 == expected1);
}
