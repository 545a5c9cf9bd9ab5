#include "support/tasks.h"

#include <attune/core/error.h>
#include <attune/data/cifar.h>
#include <attune/data/image_folder.h>
#include <attune/data/synthetic_shapes.h>
#include <attune/layers/models/make_model.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/normalization.h"

namespace attune::examples {
namespace {

namespace fs = std::filesystem;

// Enough to learn from within a minute or two on two cores. A transfer trains five networks.
constexpr std::int64_t kSyntheticTrainImages = 4096;
constexpr std::int64_t kSyntheticTransferImages = 2560;
constexpr std::int64_t kSyntheticTestImages = 1000;

constexpr std::int64_t kMostResidentBytes = std::int64_t{1} << 30;

constexpr const char* kSynthetic = "synthetic";

Task synthetic_task(Domain domain, std::int64_t default_count, const RunOptions& options) {
  const std::int64_t count = options.limit > 0 ? options.limit : default_count;
  const std::int64_t test_count = std::min(count, kSyntheticTestImages);
  const ChannelStatistics statistics = synthetic_shapes_statistics();
  return {.name = fmt::format("synthetic shapes, {} domain", to_string(domain)),
          .train = std::make_shared<SyntheticShapes>(domain, Split::train, count, options.seed),
          .test = std::make_shared<SyntheticShapes>(domain, Split::test, test_count, options.seed),
          .train_transform = cifar_train(statistics),
          .test_transform = cifar_test(statistics),
          .statistics = statistics,
          .stem = options.stem.value_or(Stem::cifar)};
}

/// The first `limit` images in a random order: those of a folder are sorted by class.
std::shared_ptr<const Dataset> limited(std::shared_ptr<const Dataset> dataset,
                                       const RunOptions& options) {
  if (options.limit == 0 || options.limit >= dataset->size()) return dataset;
  const double share = static_cast<double>(options.limit) / static_cast<double>(dataset->size());
  return Subset::fraction(dataset, 0, share, options.seed);
}

bool has_cifar10(const fs::path& directory) {
  return fs::exists(directory / "cifar-10-batches-bin") ||
         fs::exists(directory / "data_batch_1.bin");
}

bool has_cifar100(const fs::path& directory) {
  return fs::exists(directory / "cifar-100-binary") || fs::exists(directory / "train.bin");
}

template <typename Cifar>
Task cifar_task(const std::string& name, const fs::path& directory,
                const ChannelStatistics& statistics, const RunOptions& options) {
  return {.name = name,
          .train = limited(std::make_shared<Cifar>(directory, Split::train), options),
          .test = limited(std::make_shared<Cifar>(directory, Split::test), options),
          .train_transform = cifar_train(statistics),
          .test_transform = cifar_test(statistics),
          .statistics = statistics,
          .stem = options.stem.value_or(Stem::cifar)};
}

Task cifar10_task(const fs::path& directory, const RunOptions& options) {
  return cifar_task<Cifar10>("CIFAR-10", directory, cifar10_statistics(), options);
}

Task cifar100_task(const fs::path& directory, const RunOptions& options) {
  return cifar_task<Cifar100>("CIFAR-100", directory, cifar100_statistics(), options);
}

bool has_image_folders(const fs::path& directory) { return fs::is_directory(directory / "train"); }

/// Class names go into files of weights, where text is UTF-8. Better to find out before training.
void check_names(const Dataset& dataset, const fs::path& directory) {
  try {
    nlohmann::json(dataset.classes()).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(
        fmt::format("{}: the name of a class is not UTF-8, as it has to be in a file of weights",
                    directory.string()));
  }
}

Task folder_task(const fs::path& directory, const RunOptions& options) {
  const auto train = std::make_shared<ImageFolder>(directory / "train");
  check_names(*train, directory / "train");
  const fs::path test = fs::is_directory(directory / "test") ? "test" : "val";
  if (!fs::is_directory(directory / test)) {
    throw Error(fmt::format("--data {}: {} has train/, but neither test/ nor val/", options.data,
                            directory.string()));
  }
  const Stem stem = options.stem.value_or(usual_stem(options.net));
  const std::int64_t side = image_side(stem);
  const ChannelStatistics statistics = imagenet_statistics();
  return {
      .name = (directory / ".").parent_path().filename().string(),  // also of "animals/"
      .train = limited(train, options),
      .test = limited(std::make_shared<ImageFolder>(directory / test, train->classes()), options),
      .train_transform = Compose(picture_resize(side), RandomCrop(side, side), HorizontalFlip(),
                                 Normalize(statistics)),
      .test_transform = picture_transform(side, statistics),
      .statistics = statistics,
      .stem = stem,
      .side = side};
}

void check_directory(const RunOptions& options) {
  if (!fs::is_directory(options.data)) {
    throw Error(
        fmt::format("--data {}: no such directory (or use --data {})", options.data, kSynthetic));
  }
}

/// Training leaves out a last batch that is not full, so there must be a full one.
Task checked(Task task, const RunOptions& options) {
  if (options.batch_size > task.train->size()) {
    throw Error(fmt::format("--batch-size {}: there are only {} training images ({})",
                            options.batch_size, task.train->size(), task.name));
  }
  return task;
}

DataLoaderOptions loader_options(const Dataset& images, const RunOptions& options) {
  DataLoaderOptions loader{.batch_size = options.batch_size,
                           .seed = options.seed,
                           .workers = options.workers,
                           .dtype = options.dtype()};
  const std::int64_t bytes = images.size() * images.image_size().count();  // 0: of several sizes
  const bool usual =
      loader.device.type == DeviceType::cuda && bytes > 0 && bytes <= kMostResidentBytes;
  loader.resident = options.resident.value_or(usual);
  return loader;
}

Task find_task(const RunOptions& options) {
  if (options.data == kSynthetic) {
    return synthetic_task(Domain::source, kSyntheticTrainImages, options);
  }
  check_directory(options);
  const fs::path directory = options.data;
  if (has_cifar10(directory)) return cifar10_task(directory, options);
  if (has_cifar100(directory)) return cifar100_task(directory, options);
  if (has_image_folders(directory)) return folder_task(directory, options);
  throw Error(
      fmt::format("--data {}: holds neither cifar-10-batches-bin/, nor cifar-100-binary/, nor "
                  "train/ and test/ folders of images",
                  options.data));
}

Transfer find_transfer(const RunOptions& options) {
  if (options.data == kSynthetic) {
    return {synthetic_task(Domain::source, kSyntheticTransferImages, options),
            synthetic_task(Domain::target, kSyntheticTransferImages, options)};
  }
  check_directory(options);
  const fs::path directory = options.data;
  if (has_cifar10(directory) && has_cifar100(directory)) {
    return {cifar100_task(directory, options), cifar10_task(directory, options)};
  }
  if (has_image_folders(directory / "source") && has_image_folders(directory / "target")) {
    return {folder_task(directory / "source", options), folder_task(directory / "target", options)};
  }
  throw Error(
      fmt::format("--data {}: holds neither cifar-100-binary/ (to pretrain on) beside "
                  "cifar-10-batches-bin/ (to fine-tune on), nor source/ and target/, each with "
                  "train/ and test/ folders of images",
                  options.data));
}

}  // namespace

Task open_task(const RunOptions& options) { return checked(find_task(options), options); }

Transfer open_transfer(const RunOptions& options) {
  const Transfer transfer = find_transfer(options);
  return {checked(transfer.source, options), checked(transfer.target, options)};
}

Task open_target(const RunOptions& options) {
  if (options.data == kSynthetic) return open_transfer(options).target;
  check_directory(options);
  const fs::path target = fs::path(options.data) / "target";
  return checked(has_image_folders(target) ? folder_task(target, options) : find_task(options),
                 options);
}

TestSet open_test_set(const std::string& data, const std::vector<std::string>& classes,
                      std::int64_t limit) {
  RunOptions options;
  options.data = data;
  options.limit = limit;
  const auto of_task = [](const std::string& name, std::shared_ptr<const Dataset> images,
                          const ChannelStatistics& statistics) {
    return TestSet{.name = name, .images = std::move(images), .statistics = statistics};
  };
  if (data == kSynthetic) {
    const Task task = synthetic_task(Domain::source, kSyntheticTestImages, options);
    return of_task(task.name, task.test, task.statistics);
  }
  check_directory(options);
  if (has_cifar10(data)) {
    return of_task("CIFAR-10", limited(std::make_shared<Cifar10>(data, Split::test), options),
                   cifar10_statistics());
  }
  if (has_cifar100(data)) {
    return of_task("CIFAR-100", limited(std::make_shared<Cifar100>(data, Split::test), options),
                   cifar100_statistics());
  }
  fs::path directory = data;
  for (const char* const test : {"val", "test"}) {
    if (fs::is_directory(fs::path(data) / test)) directory = fs::path(data) / test;
  }
  return {.name = directory.string(),
          .images = limited(std::make_shared<ImageFolder>(directory, classes), options),
          .statistics = imagenet_statistics(),
          .are_pictures = true};
}

DataLoader training_batches(const Task& task, const RunOptions& options) {
  DataLoaderOptions loader = loader_options(*task.train, options);
  loader.shuffle = true;
  loader.drop_last = true;
  return {task.train, task.train_transform, loader};
}

DataLoader test_batches(const Task& task, const RunOptions& options) {
  DataLoaderOptions loader = loader_options(*task.test, options);
  loader.batch_size = std::min(std::int64_t{250}, task.test->size());
  return {task.test, task.test_transform, loader};
}

}  // namespace attune::examples
