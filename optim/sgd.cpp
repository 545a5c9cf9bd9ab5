#include "attune/optim/sgd.h"

#include <utility>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/kernels/optimizer_step.h"

namespace attune {
namespace {

std::vector<std::string> moments_of(const SgdOptions& options) {
  if (options.momentum == 0) return {};
  return {"velocity"};
}

}  // namespace

Sgd::Sgd(std::vector<Tensor> params, const SgdOptions& options)
    : Sgd(std::vector<ParameterGroup>{{.params = std::move(params)}}, options) {}

Sgd::Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
    : Optimizer("Sgd", std::move(groups), options.lr, options.weight_decay, moments_of(options)),
      options_(options) {
  if (!(options.momentum >= 0 && options.momentum < 1)) {
    throw Error(format_text("Sgd: momentum is {}, but must be in [0, 1)", options.momentum));
  }
  if (!(options.dampening >= 0 && options.dampening <= 1)) {
    throw Error(format_text("Sgd: dampening is {}, but must be in [0, 1]", options.dampening));
  }
  if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
    throw Error(format_text(
        "Sgd: nesterov needs momentum > 0 and dampening 0, not momentum {} and dampening {}",
        options.momentum, options.dampening));
  }
}

void Sgd::update(std::vector<Update> updates, const UpdateSettings& common) const {
  const kernels::SgdSettings settings{.lr = common.lr,
                                      .momentum = options_.momentum,
                                      .dampening = options_.dampening,
                                      .weight_decay = common.weight_decay,
                                      .nesterov = options_.nesterov,
                                      .first_step = common.steps.value == 1};
  const Tensor& first = updates.front().param;
  visit_floating(first.dtype(), "Sgd", [&]<typename T>(T) {
    std::vector<kernels::SgdTensor<T>> tensors;
    for (Update& one : updates) {
      const bool has_velocity = !one.moments.empty();
      tensors.push_back(
          {.w = one.param.mutable_data<T>(),
           .velocity = has_velocity ? one.moments[0].template mutable_data<T>() : nullptr,
           .grad = std::as_const(one.grad).data<T>(),
           .count = one.param.count()});
    }
    kernels::sgd_step<T>(first.device(), tensors, settings);
  });
}

}  // namespace attune
