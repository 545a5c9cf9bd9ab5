#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

#include "attune/core/tensor.h"
#include "attune/data/dataset.h"
#include "attune/data/transforms.h"

namespace attune {

/// Images and their classes, as a network takes them.
struct Batch {
  Tensor images;                      // [N, H, W, C], float32 or float64
  Tensor targets;                     // [N], int64
  std::vector<std::int64_t> indices;  // [N]: which images of the data set these are
  std::int64_t position = 0;          // how many batches of the epoch came before

  std::int64_t size() const { return static_cast<std::int64_t>(indices.size()); }
};

struct DataLoaderOptions {
  std::int64_t batch_size = 128;
  bool shuffle = false;
  /// Leaves out a last batch that is not full.
  bool drop_last = false;
  /// Fixes the order of the images and what random transforms do.
  std::uint64_t seed = 0;
  /// Threads that prepare batches ahead of the consumer; 0: the consumer prepares them itself. No
  /// number changes the batches.
  int workers = 1;
  /// How many batches may be ready or in preparation at once.
  int prefetch = 4;
  /// float32 or float64. Images are computed in float32 either way.
  DType dtype = DType::float32;
  /// Where batches are. On a GPU, each is sent there while the one before is computed with, by two
  /// buffers in turn: the tensors of a batch are overwritten by those of the next but one.
  Device device = DefaultDevice::current();
  /// Keeps the whole data set on `device`, as bytes, and makes the batches there, each by one
  /// kernel: for small images of one size, and a transform of RandomCrop to that size,
  /// HorizontalFlip and Normalize, in this order, or some of them. The same images bit for bit.
  /// There are no workers, and tensors of a batch stay what they are.
  bool resident = false;
};

class ResidentImages;

/// Cuts a data set into batches:
///
///     DataLoader loader(dataset, cifar_train(), {.batch_size = 128, .shuffle = true, .seed = 1});
///     for (int e = 0; e < epochs; ++e) {
///       for (Batch& batch : loader.epoch(e)) { ... batch.images ... batch.targets ... }
///     }
///
/// Every batch is a function of the data set, the transform, the options' seed and batch size, the
/// epoch and its position in it, and of nothing else: the order of the images comes from (seed,
/// epoch), the augmentation of an image from (seed, epoch, index). A run can therefore be taken up
/// again in the middle of an epoch, and the number of threads does not matter.
class DataLoader {
 public:
  class Epoch;

  /// Throws Error if the options make no sense, do not give a single batch, or ask for a resident
  /// data set with images or a transform that there is no kernel for.
  DataLoader(std::shared_ptr<const Dataset> dataset, Compose transform,
             const DataLoaderOptions& options);

  const DataLoaderOptions& options() const { return options_; }
  const Dataset& dataset() const { return *dataset_; }
  const Compose& transform() const { return transform_; }
  /// Batches in an epoch.
  std::int64_t batches() const;
  /// The images in the order in which an epoch visits them.
  std::vector<std::int64_t> order(std::int64_t epoch) const;
  /// Starts an epoch (at least 0), at its batch `first_batch` (0 to batches()).
  Epoch epoch(std::int64_t epoch, std::int64_t first_batch = 0) const;

 private:
  std::shared_ptr<const Dataset> dataset_;
  Compose transform_;
  DataLoaderOptions options_;
  std::shared_ptr<const ResidentImages> resident_;
};

/// One pass over the data, and the threads that prepare it. May be destroyed at any time, also when
/// batches are left; does not depend on the DataLoader's lifetime. For one consumer thread.
class DataLoader::Epoch {
 public:
  Epoch(Epoch&&) noexcept;
  Epoch& operator=(Epoch&&) noexcept;
  ~Epoch();

  /// The next batch, or nothing after the last. What failed while preparing it is thrown here, when
  /// its turn has come, and ends the epoch. Tensors are made here, in the calling thread, so memory
  /// statistics do not depend on how far ahead the workers are.
  std::optional<Batch> next();

  /// Input iterator over the batches that are left.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = Batch;
    using pointer = Batch*;
    using reference = Batch&;

    Batch& operator*() const { return *epoch_->current_; }
    Batch* operator->() const { return &*epoch_->current_; }
    Iterator& operator++();
    bool operator==(std::default_sentinel_t) const { return !epoch_->current_; }

   private:
    friend class Epoch;
    explicit Iterator(Epoch* epoch) : epoch_(epoch) {}
    Epoch* epoch_;
  };
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

 private:
  friend class DataLoader;
  class Source;
  class Pipeline;
  class Resident;
  explicit Epoch(std::unique_ptr<Source> source);

  std::unique_ptr<Source> source_;
  std::optional<Batch> current_;  // what the iterator shows
};

}  // namespace attune
