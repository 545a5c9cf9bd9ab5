#include "attune/data/data_loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/data/batch_upload.h"
#include "attune/data/resident_images.h"
#include "attune/data/shuffle.h"

namespace attune {
namespace {

std::uint64_t augment_seed(const DataLoaderOptions& options, std::int64_t epoch) {
  return derive_seed(options.seed, RandomUse::augment, static_cast<std::uint64_t>(epoch));
}

}  // namespace

/// Where the batches of an epoch come from.
class DataLoader::Epoch::Source {
 public:
  Source() = default;
  virtual ~Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  virtual std::optional<Batch> next() = 0;
};

/// Prepares the batches of one epoch. Batch p is staged in slot p % prefetch. A worker may fill the
/// slot once the batch that used it before has been consumed; the consumer takes slots in order. So
/// at any time a slot belongs to one thread, and only the counters need the mutex.
class DataLoader::Epoch::Pipeline : public Source {
 public:
  Pipeline(const DataLoader& loader, std::int64_t epoch, std::int64_t first_batch)
      : dataset_(loader.dataset_),
        transform_(loader.transform_),
        options_(loader.options_),
        augment_seed_(augment_seed(options_, epoch)),
        order_(loader.order(epoch)),
        batches_(loader.batches()),
        slots_(static_cast<std::size_t>(options_.prefetch)),
        next_to_prepare_(first_batch),
        next_to_consume_(first_batch),
        upload_(loader.options_.device) {
    const std::int64_t useful = std::min<std::int64_t>(options_.workers, batches_ - first_batch);
    for (std::int64_t i = 0; i < useful; ++i) {
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }

  std::optional<Batch> next() override {
    if (options_.device == Device::cpu) return next_on_cpu();
    return upload_.next([this] { return next_on_cpu(); });
  }

 private:
  /// A batch in ordinary memory. The vectors are used again and again.
  struct Slot {
    bool ready = false;  // guarded by mutex_
    ImageSize image_size;
    std::vector<float> pixels;
    std::vector<std::int64_t> labels;
    std::vector<std::int64_t> indices;
    std::exception_ptr error;
  };

  std::optional<Batch> next_on_cpu() {
    if (next_to_consume_ == batches_) return std::nullopt;
    Slot& slot = slot_of(next_to_consume_);
    if (workers_.empty()) {
      prepare(next_to_consume_, slot, {});
    } else {
      std::unique_lock lock(mutex_);
      slot_ready_.wait(lock, [&] { return slot.ready; });
    }
    if (slot.error) {
      const std::exception_ptr error = slot.error;
      workers_.clear();  // stops and joins them
      next_to_consume_ = batches_;
      std::rethrow_exception(error);
    }
    Batch batch = make_batch(slot);
    {
      const std::lock_guard lock(mutex_);
      slot.ready = false;
      ++next_to_consume_;
    }
    slot_free_.notify_all();
    return batch;
  }

  Slot& slot_of(std::int64_t position) {
    return slots_[static_cast<std::size_t>(position % options_.prefetch)];
  }

  void work(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::int64_t position = 0;
      {
        std::unique_lock lock(mutex_);
        slot_free_.wait(lock, stop, [&] {
          return next_to_prepare_ == batches_ ||
                 next_to_prepare_ < next_to_consume_ + options_.prefetch;
        });
        if (stop.stop_requested() || next_to_prepare_ == batches_) return;
        position = next_to_prepare_++;
      }
      Slot& slot = slot_of(position);
      prepare(position, slot, stop);
      {
        const std::lock_guard lock(mutex_);
        slot.ready = true;
      }
      slot_ready_.notify_one();
    }
  }

  void prepare(std::int64_t position, Slot& slot, const std::stop_token& stop) {
    try {
      const std::int64_t begin = position * options_.batch_size;
      const std::int64_t end = std::min(begin + options_.batch_size, dataset_->size());
      slot.indices.assign(order_.begin() + begin, order_.begin() + end);
      slot.labels.resize(slot.indices.size());
      ByteImage bytes;
      Image image;
      for (std::size_t i = 0; i < slot.indices.size(); ++i) {
        if (stop.stop_requested()) return;
        const std::int64_t index = slot.indices[i];
        slot.labels[i] = dataset_->label(index);
        dataset_->load(index, bytes);
        to_float(bytes, image);
        augment(index, image);
        store(i, image, slot);
      }
    } catch (...) {
      slot.error = std::current_exception();
    }
  }

  void augment(std::int64_t index, Image& image) const {
    RandomStream random(augment_seed_, static_cast<std::uint64_t>(index));
    try {
      transform_.apply(image, random);
    } catch (const Error& error) {
      throw Error(format_text("data loader: {}: {}", dataset_->sample_name(index), error.what()));
    }
  }

  // Copies image `i` of a batch to its place in the slot.
  void store(std::size_t i, const Image& image, Slot& slot) const {
    const auto count = static_cast<std::size_t>(image.size.count());
    if (i == 0) {
      slot.image_size = image.size;
      slot.pixels.resize(slot.indices.size() * count);
    } else if (!(image.size == slot.image_size)) {
      throw Error(format_text(
          "data loader: {} is {} and {} is {}; images of one batch must have one size (add a "
          "Resize or a CenterCrop to the transform)",
          dataset_->sample_name(slot.indices[0]), to_string(slot.image_size),
          dataset_->sample_name(slot.indices[i]), to_string(image.size)));
    }
    std::copy_n(image.pixels.begin(), count,
                slot.pixels.begin() + static_cast<std::ptrdiff_t>(i * count));
  }

  Batch make_batch(const Slot& slot) const {
    const auto [height, width, channels] = slot.image_size;
    const auto count = static_cast<std::int64_t>(slot.indices.size());
    Batch batch;
    batch.images = Tensor::empty({count, height, width, channels}, options_.dtype, Device::cpu);
    visit_floating(options_.dtype, "data loader", [&]<typename T>(T) {
      std::copy(slot.pixels.begin(), slot.pixels.begin() + batch.images.count(),
                batch.images.mutable_data<T>());
    });
    batch.targets = Tensor::from(slot.labels, {count}, Device::cpu);
    batch.indices = slot.indices;
    batch.position = next_to_consume_;
    return batch;
  }

  const std::shared_ptr<const Dataset> dataset_;
  const Compose transform_;
  const DataLoaderOptions options_;
  const std::uint64_t augment_seed_;
  const std::vector<std::int64_t> order_;
  const std::int64_t batches_;

  std::mutex mutex_;
  std::condition_variable_any slot_free_;
  std::condition_variable slot_ready_;
  std::vector<Slot> slots_;
  std::int64_t next_to_prepare_;  // guarded by mutex_
  std::int64_t next_to_consume_;  // guarded by mutex_; only the consumer writes it
  BatchUpload upload_;            // the consumer's
  // The last member, so the first to be destroyed: each thread is asked to stop, then joined.
  std::vector<std::jthread> workers_;
};

/// Has them made on the device where the images are.
class DataLoader::Epoch::Resident : public Source {
 public:
  Resident(const DataLoader& loader, std::int64_t epoch, std::int64_t first_batch)
      : images_(loader.resident_),
        options_(loader.options_),
        augment_seed_(augment_seed(loader.options_, epoch)),
        order_(loader.order(epoch)),
        order_on_device_(Tensor::from(order_, {std::ssize(order_)}, options_.device)),
        batches_(loader.batches()),
        next_(first_batch) {}

  std::optional<Batch> next() override {
    if (next_ == batches_) return std::nullopt;
    const std::int64_t begin = next_ * options_.batch_size;
    const std::int64_t end = std::min(begin + options_.batch_size, std::ssize(order_));
    Batch batch =
        images_->make(order_on_device_, begin, end - begin, augment_seed_, options_.dtype);
    batch.indices.assign(order_.begin() + begin, order_.begin() + end);
    batch.position = next_++;
    return batch;
  }

 private:
  const std::shared_ptr<const ResidentImages> images_;
  const DataLoaderOptions options_;
  const std::uint64_t augment_seed_;
  const std::vector<std::int64_t> order_;
  const Tensor order_on_device_;
  const std::int64_t batches_;
  std::int64_t next_;
};

// ---- Epoch ----

DataLoader::Epoch::Epoch(std::unique_ptr<Source> source) : source_(std::move(source)) {}
DataLoader::Epoch::Epoch(Epoch&&) noexcept = default;
DataLoader::Epoch& DataLoader::Epoch::operator=(Epoch&&) noexcept = default;
DataLoader::Epoch::~Epoch() = default;

std::optional<Batch> DataLoader::Epoch::next() { return source_->next(); }

DataLoader::Epoch::Iterator DataLoader::Epoch::begin() {
  current_ = next();
  return Iterator(this);
}

DataLoader::Epoch::Iterator& DataLoader::Epoch::Iterator::operator++() {
  epoch_->current_.reset();  // so that there are never two batches at once
  epoch_->current_ = epoch_->next();
  return *this;
}

// ---- DataLoader ----

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, Compose transform,
                       const DataLoaderOptions& options)
    : dataset_(std::move(dataset)), transform_(std::move(transform)), options_(options) {
  if (!dataset_) throw Error("data loader: no data set given");
  const auto check = [](bool good, const char* option, std::int64_t value, const char* wanted) {
    if (!good)
      throw Error(format_text("data loader: {} is {}, expected {}", option, value, wanted));
  };
  check(options_.batch_size >= 1, "batch_size", options_.batch_size, "at least 1");
  check(options_.workers >= 0, "workers", options_.workers, "at least 0");
  check(options_.prefetch >= 1, "prefetch", options_.prefetch, "at least 1");
  if (!is_floating(options_.dtype)) {
    throw Error(format_text("data loader: dtype is {}, expected float32 or float64",
                            to_string(options_.dtype)));
  }
  if (batches() == 0) {
    throw Error(format_text("data loader: {} images do not give one batch of {}{}",
                            dataset_->size(), options_.batch_size,
                            options_.drop_last ? " (drop_last is on)" : ""));
  }
  if (options_.resident) {
    resident_ = std::make_shared<ResidentImages>(*dataset_, transform_, options_.device);
  }
}

std::int64_t DataLoader::batches() const {
  const std::int64_t full = dataset_->size() / options_.batch_size;
  const bool rest = dataset_->size() % options_.batch_size != 0;
  return full + (rest && !options_.drop_last ? 1 : 0);
}

std::vector<std::int64_t> DataLoader::order(std::int64_t epoch) const {
  if (options_.shuffle) {
    return shuffled_indices(dataset_->size(), derive_seed(options_.seed, RandomUse::shuffle,
                                                          static_cast<std::uint64_t>(epoch)));
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(dataset_->size()));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

DataLoader::Epoch DataLoader::epoch(std::int64_t epoch, std::int64_t first_batch) const {
  if (epoch < 0) throw Error(format_text("data loader: epoch {} is negative", epoch));
  if (first_batch < 0 || first_batch > batches()) {
    throw Error(format_text("data loader: batch {} is not within the {} of an epoch", first_batch,
                            batches()));
  }
  if (resident_) return Epoch(std::make_unique<Epoch::Resident>(*this, epoch, first_batch));
  return Epoch(std::make_unique<Epoch::Pipeline>(*this, epoch, first_batch));
}

}  // namespace attune
