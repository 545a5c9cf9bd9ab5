#include "attune/optim/clip_grad.h"

#include <cmath>
#include <unordered_set>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/kernels/elementwise.h"
#include "attune/kernels/reduce.h"

namespace attune {
namespace {

std::vector<Tensor> gradients(const char* op, const std::vector<Tensor>& params) {
  std::vector<Tensor> grads;
  std::unordered_set<const Storage*> seen;
  for (const Tensor& param : params) {
    Tensor grad = param.grad();
    if (!grad.defined()) continue;
    if (!seen.insert(&grad.storage()).second) {
      throw Error(format_text("{}: the gradient of {} is listed twice", op, describe(param)));
    }
    grads.push_back(std::move(grad));
  }
  return grads;
}

void check_limit(const char* op, const char* argument, double value) {
  if (!(value > 0))
    throw Error(format_text("{}: {} is {}, but must be positive", op, argument, value));
}

double norm(const std::vector<Tensor>& grads) {
  double sum = 0;
  for (const Tensor& grad : grads) {
    sum += visit_floating(grad.dtype(), "grad_norm", [&]<typename T>(T) {
      return kernels::sum_of_squares(grad.device(), grad.data<T>(), grad.count());
    });
  }
  return std::sqrt(sum);
}

}  // namespace

double grad_norm(const std::vector<Tensor>& params) { return norm(gradients("grad_norm", params)); }

double clip_grad_norm(const std::vector<Tensor>& params, double max_norm, bool error_if_nonfinite) {
  const OpTimer timer("clip_grad_norm");
  check_limit("clip_grad_norm", "max_norm", max_norm);
  std::vector<Tensor> grads = gradients("clip_grad_norm", params);
  const double total = norm(grads);
  if (error_if_nonfinite && !std::isfinite(total)) {
    throw Error(format_text("clip_grad_norm: the norm of the gradients is {}", total));
  }
  const double factor = max_norm / (total + 1e-6);
  if (factor >= 1) return total;
  for (Tensor& grad : grads) {
    visit_floating(grad.dtype(), "clip_grad_norm", [&]<typename T>(T) {
      kernels::scale(grad.device(), grad.mutable_data<T>(), static_cast<T>(factor), grad.count());
    });
  }
  return total;
}

void clip_grad_value(const std::vector<Tensor>& params, double max_value) {
  const OpTimer timer("clip_grad_value");
  check_limit("clip_grad_value", "max_value", max_value);
  for (Tensor& grad : gradients("clip_grad_value", params)) {
    visit_floating(grad.dtype(), "clip_grad_value", [&]<typename T>(T) {
      const T limit = static_cast<T>(max_value);
      T* g = grad.mutable_data<T>();
      kernels::clamp(grad.device(), g, g, -limit, limit, grad.count());
    });
  }
}

}  // namespace attune
