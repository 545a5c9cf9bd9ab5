#include "attune/optim/sgd.h"

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

void Sgd::update(Tensor& param, const Tensor& grad, double lr, double weight_decay,
                 ParameterState& state) const {
  const kernels::SgdSettings settings{.lr = lr,
                                      .momentum = options_.momentum,
                                      .dampening = options_.dampening,
                                      .weight_decay = weight_decay,
                                      .nesterov = options_.nesterov,
                                      .first_step = state.steps == 1};
  visit_floating(param.dtype(), "Sgd", [&]<typename T>(T) {
    T* velocity = state.moments.empty() ? nullptr : state.moments[0].template mutable_data<T>();
    kernels::sgd_step(param.device(), param.mutable_data<T>(), velocity, grad.data<T>(),
                      param.count(), settings);
  });
}

}  // namespace attune
