#include "attune/optim/ema.h"

#include <algorithm>
#include <string>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/core/step_graph.h"
#include "attune/kernels/optimizer_step.h"
#include "attune/optim/state_reader.h"

namespace attune {
namespace {

std::string average_name(std::size_t i) { return format_text("average{}", i); }

}  // namespace

Ema::Ema(std::vector<Tensor> tensors, const EmaOptions& options)
    : tensors_(std::move(tensors)), options_(options) {
  if (tensors_.empty()) throw Error("Ema: there are no tensors");
  if (!(options.decay >= 0 && options.decay < 1)) {
    throw Error(format_text("Ema: decay is {}, but must be in [0, 1)", options.decay));
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& tensor = tensors_[i];
    if (!tensor.defined() || !is_floating(tensor.dtype())) {
      throw Error(
          format_text("Ema: tensor {} is {}, but must be float32 or float64", i, describe(tensor)));
    }
    averages_.push_back(
        Tensor::empty(tensor.shape(), tensor.dtype(), tensor.device(), MemoryPurpose::optimizer));
    averages_.back().copy_(tensor);
  }
}

void Ema::check_not_swapped(const char* op) const {
  if (swapped_) {
    throw Error(format_text("Ema: {}: the averages are swapped in; call swap() first", op));
  }
}

void Ema::update() {
  const OpTimer timer("Ema");
  check_not_swapped("update");
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!tensors_[i].retired()) continue;
    throw Error(format_text(
        "Ema: update: tensor {} ({}) is no longer part of its model, which deploy(), undeploy() or "
        "to() has changed since; build a new Ema from the model's parameters",
        i, describe(tensors_[i])));
  }
  ++updates_;
  if (recording_step()) before_replay([this] { ++updates_; });
  const auto decay = step_value<double>([this] {
    if (!options_.warm_up) return options_.decay;
    const auto before = static_cast<double>(updates_ - 1);
    return std::min(options_.decay, (1 + before) / (10 + before));
  });
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    visit_floating(tensors_[i].dtype(), "Ema", [&]<typename T>(T) {
      kernels::ema_step(tensors_[i].device(), averages_[i].mutable_data<T>(),
                        std::as_const(tensors_[i]).data<T>(), tensors_[i].count(), decay);
    });
  }
}

void Ema::copy_to(std::vector<Tensor> targets) const {
  check_not_swapped("copy_to");
  if (targets.size() != averages_.size()) {
    throw Error(
        format_text("Ema: copy_to: {} targets for {} averages", targets.size(), averages_.size()));
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (!targets[i].defined() || targets[i].shape() != averages_[i].shape()) {
      throw Error(format_text("Ema: copy_to: target {} is {}, but the average is {}", i,
                              describe(targets[i]), describe(averages_[i])));
    }
  }
  NoGradGuard no_grad;
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i].copy_(averages_[i]);
}

void Ema::swap() {
  NoGradGuard no_grad;
  // Elements are exchanged, not handles: everybody who holds the tensor must see the change.
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor average = averages_[i].clone();
    averages_[i].copy_(tensors_[i]);
    tensors_[i].copy_(average);
  }
  swapped_ = !swapped_;
}

OptimizerState Ema::state() const {
  check_not_swapped("state");
  OptimizerState state{{"updates", state_entry(updates_)}};
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    state.emplace_back(average_name(i), averages_[i]);
  }
  return state;
}

void Ema::load_state(const OptimizerState& state) {
  check_not_swapped("load_state");
  StateReader reader("Ema: load_state", state);
  const std::int64_t updates = reader.take_count("updates", 0);
  std::vector<Tensor> averages;
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    averages.push_back(reader.take_copy(average_name(i), averages_[i]));
  }
  reader.check_empty();
  updates_ = updates;
  averages_ = std::move(averages);
}

}  // namespace attune
