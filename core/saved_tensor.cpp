#include "attune/core/saved_tensor.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

thread_local bool rounding = false;

// Such elements have no DType, since nothing computes with them: they are bytes, two each.
std::uint16_t* bfloat16_elements(Tensor& bytes) {
  return reinterpret_cast<std::uint16_t*>(bytes.mutable_data<std::uint8_t>());
}
const std::uint16_t* bfloat16_elements(const Tensor& bytes) {
  return reinterpret_cast<const std::uint16_t*>(bytes.data<std::uint8_t>());
}

}  // namespace

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

Bfloat16Saves::Bfloat16Saves(bool on) : before_(rounding) { rounding = on; }
Bfloat16Saves::~Bfloat16Saves() { rounding = before_; }
bool Bfloat16Saves::on() { return rounding; }

Recipe rounded_to_bfloat16(const Tensor& x) {
  Tensor bytes = Tensor::empty({x.count(), 2}, DType::uint8, x.device());
  kernels::round_to_bfloat16(x.device(), bfloat16_elements(bytes), x.data<float>(), x.count());
  return {.ingredients = {SavedTensor(bytes)},
          .rebuild = [shape = x.shape()](const std::vector<Tensor>& parts) {
            Tensor again = Tensor::empty(shape, DType::float32, parts[0].device());
            kernels::widen_bfloat16(again.device(), again.mutable_data<float>(),
                                    bfloat16_elements(parts[0]), again.count());
            return again;
          }};
}

}  // namespace attune
