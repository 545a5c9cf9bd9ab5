#include "attune/layers/meta_scope.h"

namespace attune {

MetaScope::MetaScope(Module& module) {
  for (const Module::Slot& slot : module.all_slots())
    tensors_.emplace_back(slot.tensor, *slot.tensor);
  module.for_each_module([&](const std::string&, Module& below) {
    training_.emplace_back(&below, below.training_);
    below.training_ = false;
  });
  for (auto& [place, tensor] : tensors_) {
    *place = Tensor::empty(tensor.shape(), tensor.dtype(), Device::meta, MemoryPurpose::parameter);
  }
}

MetaScope::~MetaScope() {
  for (auto& [place, tensor] : tensors_) *place = std::move(tensor);
  for (const auto& [module, training] : training_) module->training_ = training;
}

}  // namespace attune
