#include "attune/optim/adam.h"

#include <cmath>
#include <utility>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/kernels/optimizer_step.h"

namespace attune {

Adam::Adam(std::vector<Tensor> params, const AdamOptions& options)
    : Adam(std::vector<ParameterGroup>{{.params = std::move(params)}}, options) {}

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options)
    : Adam("Adam", false, std::move(groups), options) {}

Adam::Adam(const char* name, bool decoupled, std::vector<ParameterGroup> groups,
           const AdamOptions& options)
    : Optimizer(name, std::move(groups), options.lr, options.weight_decay, {"m", "v"}),
      options_(options),
      decoupled_(decoupled) {
  for (const double beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) {
      throw Error(format_text("{}: beta1 and beta2 must be in [0, 1), but are {} and {}", name,
                              options.beta1, options.beta2));
    }
  }
  if (!std::isfinite(options.eps) || options.eps < 0) {
    throw Error(
        format_text("{}: eps is {}, but must be finite and not negative", name, options.eps));
  }
}

void Adam::update(std::vector<Update> updates, const UpdateSettings& common) const {
  const kernels::AdamSettings settings{.lr = common.lr,
                                       .beta1 = options_.beta1,
                                       .beta2 = options_.beta2,
                                       .eps = options_.eps,
                                       .weight_decay = common.weight_decay,
                                       .decoupled = decoupled_,
                                       .step = common.steps};
  const Tensor& first = updates.front().param;
  visit_floating(first.dtype(), "Adam", [&]<typename T>(T) {
    std::vector<kernels::AdamTensor<T>> tensors;
    for (Update& one : updates) {
      tensors.push_back({.w = one.param.mutable_data<T>(),
                         .m = one.moments[0].template mutable_data<T>(),
                         .v = one.moments[1].template mutable_data<T>(),
                         .grad = std::as_const(one.grad).data<T>(),
                         .count = one.param.count()});
    }
    kernels::adam_step<T>(first.device(), tensors, settings);
  });
}

AdamW::AdamW(std::vector<Tensor> params, const AdamWOptions& options)
    : AdamW(std::vector<ParameterGroup>{{.params = std::move(params)}}, options) {}

AdamW::AdamW(std::vector<ParameterGroup> groups, const AdamWOptions& options)
    : Adam("AdamW", true, std::move(groups),
           {.lr = options.lr,
            .beta1 = options.beta1,
            .beta2 = options.beta2,
            .eps = options.eps,
            .weight_decay = options.weight_decay}) {}

}  // namespace attune
