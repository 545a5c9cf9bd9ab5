#include "attune/layers/sequential.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/layers/conv_bn.h"

namespace attune {

Sequential::Sequential(std::initializer_list<std::shared_ptr<Module>> modules) {
  for (const auto& module : modules) append(module);
}

void Sequential::append(const std::shared_ptr<Module>& module) {
  const bool is_conv_bn = std::dynamic_pointer_cast<ConvBN>(module) != nullptr;
  append({.name = std::to_string(next_number_),
          .bn_name = is_conv_bn ? std::to_string(next_number_ + 1) : "",
          .module = module});
  next_number_ += is_conv_bn ? 2 : 1;
}

void Sequential::append(Step step) {
  if (step.bn_name.empty()) {
    register_module(step.name, step.module);
  } else {
    register_conv_bn(step.name, step.bn_name, step.module);
  }
  steps_.push_back(std::move(step));
}

void Sequential::replace_pair(std::size_t position, std::shared_ptr<ConvBN> conv_bn) {
  if (position + 1 >= steps_.size()) {
    throw Error(format_text("Sequential::replace_pair: no pair at {} of {} modules", position,
                            steps_.size()));
  }
  // Everything is registered anew, so that the order of names stays that of the steps.
  std::vector<Step> steps = std::move(steps_);
  steps_.clear();
  for (const Step& step : steps) unregister_module(step.name);
  const auto first = steps.begin() + static_cast<std::ptrdiff_t>(position);
  first->bn_name = std::next(first)->name;
  first->module = std::move(conv_bn);
  steps.erase(std::next(first));
  for (Step& step : steps) append(std::move(step));
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const Step& step : steps_) y = (*step.module)(y);
  return y;
}

const std::shared_ptr<Module>& Sequential::operator[](std::size_t position) const {
  if (position >= steps_.size()) {
    throw Error(format_text("Sequential: module {} of {} does not exist", position, steps_.size()));
  }
  return steps_[position].module;
}

}  // namespace attune
