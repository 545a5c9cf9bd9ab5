#include "attune/data/dataset.h"

#include <algorithm>
#include <cmath>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/data/shuffle.h"

namespace attune {

const char* to_string(Split split) { return split == Split::train ? "train" : "test"; }

// ---- Dataset ----

Sample Dataset::get(std::int64_t index) const {
  Sample sample;
  load(index, sample.image);
  sample.label = label(index);
  return sample;
}

void Dataset::check_index(std::int64_t index) const {
  if (index < 0 || index >= size()) {
    throw Error(
        format_text("dataset: index {} is out of range, there are {} images", index, size()));
  }
}

// ---- InMemoryDataset ----

InMemoryDataset::InMemoryDataset(std::string name, std::vector<std::string> classes,
                                 const ImageSize& image_size, std::vector<std::uint8_t> pixels,
                                 std::vector<std::int64_t> labels)
    : name_(std::move(name)),
      classes_(std::move(classes)),
      image_size_(image_size),
      pixels_(std::move(pixels)),
      labels_(std::move(labels)) {
  const std::int64_t count = size() * image_size_.count();
  if (image_size_.count() <= 0 || static_cast<std::int64_t>(pixels_.size()) != count) {
    throw Error(format_text("{}: {} bytes of pixels for {} images of {}", name_, pixels_.size(),
                            size(), to_string(image_size_)));
  }
  const auto class_count = static_cast<std::int64_t>(classes_.size());
  for (std::int64_t i = 0; i < size(); ++i) {
    if (label(i) < 0 || label(i) >= class_count) {
      throw Error(format_text("{}: image {} has label {}, but there are {} classes", name_, i,
                              label(i), class_count));
    }
  }
}

std::string InMemoryDataset::sample_name(std::int64_t index) const {
  return format_text("{} image {}", name_, index);
}

std::int64_t InMemoryDataset::label(std::int64_t index) const {
  check_index(index);
  return labels_[static_cast<std::size_t>(index)];
}

void InMemoryDataset::load(std::int64_t index, ByteImage& image) const {
  check_index(index);
  const std::uint8_t* begin = pixels_.data() + index * image_size_.count();
  image.size = image_size_;
  image.pixels.assign(begin, begin + image_size_.count());
}

// ---- Subset ----

Subset::Subset(std::shared_ptr<const Dataset> dataset, std::vector<std::int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  if (!dataset_) throw Error("subset: no data set given");
  for (const std::int64_t index : indices_) {
    if (index < 0 || index >= dataset_->size()) {
      throw Error(format_text("subset: index {} is out of range, the data set has {} images", index,
                              dataset_->size()));
    }
  }
}

std::shared_ptr<Subset> Subset::first_per_class(std::shared_ptr<const Dataset> dataset,
                                                std::int64_t count) {
  if (!dataset) throw Error("subset: no data set given");
  if (count <= 0) throw Error(format_text("subset: {} images per class asked for", count));
  std::vector<std::int64_t> taken(dataset->classes().size(), 0);
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < dataset->size(); ++i) {
    if (taken[static_cast<std::size_t>(dataset->label(i))]++ < count) indices.push_back(i);
  }
  return std::make_shared<Subset>(std::move(dataset), std::move(indices));
}

std::shared_ptr<Subset> Subset::fraction(std::shared_ptr<const Dataset> dataset, double begin,
                                         double end, std::uint64_t seed) {
  if (!dataset) throw Error("subset: no data set given");
  if (!(0 <= begin && begin <= end && end <= 1)) {
    throw Error(
        format_text("subset: fractions {} to {} are not an interval within 0 to 1", begin, end));
  }
  const auto position = [&](double part) {
    return std::llround(part * static_cast<double>(dataset->size()));
  };
  const std::vector<std::int64_t> order =
      shuffled_indices(dataset->size(), derive_seed(seed, RandomUse::subset));
  return std::make_shared<Subset>(
      dataset, std::vector(order.begin() + position(begin), order.begin() + position(end)));
}

std::int64_t Subset::original_index(std::int64_t index) const {
  check_index(index);
  return indices_[static_cast<std::size_t>(index)];
}

std::string Subset::sample_name(std::int64_t index) const {
  return dataset_->sample_name(original_index(index));
}

std::int64_t Subset::label(std::int64_t index) const {
  return dataset_->label(original_index(index));
}

void Subset::load(std::int64_t index, ByteImage& image) const {
  dataset_->load(original_index(index), image);
}

}  // namespace attune
