#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "attune/core/tensor.h"

// What a node keeps for backward: a tensor's elements, or a recipe for them. No graph in either
// case.

namespace attune {

/// Elements kept for backward, and their version at that time.
class SavedTensor {
 public:
  SavedTensor() = default;
  explicit SavedTensor(const Tensor& tensor);
  /// The elements, outside any graph. Throws Error if they were changed since, naming `node`.
  Tensor restore(const char* node) const;
  bool defined() const { return storage_ != nullptr; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  const Shape& shape() const { return shape_; }

 private:
  std::shared_ptr<Storage> storage_;
  Shape shape_;
  DType dtype_ = DType::float32;
  std::uint64_t version_ = 0;
};

struct Recipe;
/// A tensor kept for backward in either way.
using SavedValue = std::variant<SavedTensor, Recipe>;

/// Instead of a tensor: how to compute it again in backward, and from what. An ingredient may be a
/// recipe in turn.
struct Recipe {
  std::vector<SavedValue> ingredients;
  std::function<Tensor(const std::vector<Tensor>& ingredients)> rebuild;
};

/// The tensor: checked to be unchanged, or computed again from ingredients that are. Throws Error
/// if something was changed, naming `node`.
Tensor restore(const SavedValue& saved, const char* node);

/// The storages it keeps, those of ingredients included.
std::vector<const Storage*> storages_of(const SavedValue& saved);

}  // namespace attune
