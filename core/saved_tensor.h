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

/// Within the scope, what this thread's convolutions get and what its ReLUs give is kept for
/// backward as bfloat16 (8 bits of exponent, 7 of mantissa), in half the bytes of float32. Each
/// such tensor is kept once, for all who need it.
///
/// The forward pass does not change by a bit, and neither do gradients of activations, biases and
/// betas: convolutions compute them from filters, and ReLUs from where their output is positive,
/// which rounding leaves alone. The gradient of a filter (and in Tune of gamma, which is computed
/// from it) is a sum of products x * dy; each x in it is wrong by up to 2^-8 of itself. To the bf16
/// convolutions of a GPU this is no loss: they round x as well.
///
/// Float64 is left alone, and so are leaves, ReLU6 (rounding would move what is just below its
/// upper bound), what normalisations keep of their inputs (which they subtract means from), and
/// whatever is computed again instead of kept: but that may be computed from rounded tensors, and
/// is then no longer the same to the bit.
class Bfloat16Saves {
 public:
  explicit Bfloat16Saves(bool on = true);
  ~Bfloat16Saves();
  Bfloat16Saves(const Bfloat16Saves&) = delete;
  Bfloat16Saves& operator=(const Bfloat16Saves&) = delete;

  /// Whether this thread is within such a scope (and not in one with on = false further inside).
  static bool on();

 private:
  bool before_;
};

/// A recipe for `x`, float32, from a rounded copy.
Recipe rounded_to_bfloat16(const Tensor& x);

}  // namespace attune
