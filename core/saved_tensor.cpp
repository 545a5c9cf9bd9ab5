#include "attune/core/saved_tensor.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {

SavedTensor::SavedTensor(const Tensor& tensor) {
  if (!tensor.defined()) return;
  storage_ = tensor.shared_storage();
  shape_ = tensor.shape();
  dtype_ = tensor.dtype();
  version_ = storage_->version();
}

Tensor SavedTensor::restore(const char* node) const {
  if (!storage_) return {};
  if (storage_->version() != version_) {
    throw Error(format_text(
        "backward: a tensor {} that '{}' saved has been changed in place since the forward pass",
        to_string(shape_), node));
  }
  return {storage_, shape_, dtype_};
}

Tensor restore(const SavedValue& saved, const char* node) {
  if (const auto* tensor = std::get_if<SavedTensor>(&saved)) return tensor->restore(node);
  const auto& recipe = std::get<Recipe>(saved);
  std::vector<Tensor> ingredients;
  for (const SavedValue& part : recipe.ingredients) ingredients.push_back(restore(part, node));
  return recipe.rebuild(ingredients);
}

std::vector<const Storage*> storages_of(const SavedValue& saved) {
  if (const auto* tensor = std::get_if<SavedTensor>(&saved)) {
    if (tensor->defined()) return {tensor->storage().get()};
    return {};
  }
  std::vector<const Storage*> storages;
  for (const SavedValue& part : std::get<Recipe>(saved).ingredients) {
    for (const Storage* storage : storages_of(part)) storages.push_back(storage);
  }
  return storages;
}

}  // namespace attune
