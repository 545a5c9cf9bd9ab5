#include "attune/core/grad_check.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/random.h"
#include "attune/kernels/memory.h"

namespace attune {
namespace {

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

// Gives leaves back the gradients they had.
class GradientGuard {
 public:
  explicit GradientGuard(const std::vector<Tensor>& leaves) : leaves_(leaves) {
    for (Tensor& leaf : leaves_) {
      before_.push_back(leaf.grad());
      leaf.zero_grad();
    }
  }
  ~GradientGuard() {
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      if (leaves_[i].defined()) leaves_[i].set_grad(before_[i]);
    }
  }
  GradientGuard(const GradientGuard&) = delete;
  GradientGuard& operator=(const GradientGuard&) = delete;

 private:
  std::vector<Tensor> leaves_;
  std::vector<Tensor> before_;
};

// One element, wherever the tensor is.
double element_of(const Tensor& tensor, std::int64_t element) {
  double value = 0;
  kernels::copy(Device::cpu, &value, tensor.device(), tensor.data<double>() + element,
                sizeof value);
  return value;
}

void set_element(Tensor& tensor, std::int64_t element, double value) {
  kernels::copy(tensor.device(), tensor.mutable_data<double>() + element, Device::cpu, &value,
                sizeof value);
}

// Changes one element for as long as it lives.
class Perturbation {
 public:
  Perturbation(const Tensor& tensor, std::int64_t element, double value)
      : tensor_(tensor), element_(element), before_(element_of(tensor, element)) {
    set_element(tensor_, element_, value);
  }
  ~Perturbation() { set_element(tensor_, element_, before_); }
  Perturbation(const Perturbation&) = delete;
  Perturbation& operator=(const Perturbation&) = delete;

 private:
  Tensor tensor_;
  std::int64_t element_;
  double before_;
};

// Handles to the same elements that require gradients.
std::vector<Tensor> as_leaves(const std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& input = inputs[i];
    if (!input.defined()) {
      leaves.push_back(input);
      continue;
    }
    if (input.dtype() != DType::float64 || input.device() == Device::meta) {
      throw Error(format_text("grad_check: input {} must be float64 and hold elements, but is {}",
                              i, describe(input)));
    }
    if (input.requires_grad() && input.autograd_meta()->producer) {
      throw Error(format_text("grad_check: input {} is not a leaf; pass its detach()", i));
    }
    leaves.push_back(input.requires_grad() ? input : input.detach().set_requires_grad());
  }
  return leaves;
}

double projection(const Tensor& y, const Tensor& direction) {
  if (!y.defined() || y.dtype() != DType::float64 || y.shape() != direction.shape()) {
    throw Error(format_text("grad_check: the output was {} and is now {}", describe(direction),
                            describe(y)));
  }
  const std::vector<double> a = y.to_vector<double>();
  const std::vector<double> b = direction.to_vector<double>();
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Central difference of <f, direction> in one element of one leaf.
double difference_quotient(const Function& f, const std::vector<Tensor>& leaves, const Tensor& leaf,
                           std::int64_t element, const Tensor& direction, double step) {
  const double x = element_of(leaf, element);
  const double h = step * std::max(1.0, std::abs(x));
  const auto value_at = [&](double moved) {
    const Perturbation perturbation(leaf, element, moved);
    return projection(f(leaves), direction);
  };
  const double above = x + h, below = x - h;
  // Their distance as rounded, not 2 h.
  return (value_at(above) - value_at(below)) / (above - below);
}

// Collects elements, and keeps the one with the worst ratio of error to tolerance.
class Judge {
 public:
  explicit Judge(const GradCheckOptions& options) : options_(options) { result_.ok = true; }

  void see(std::size_t input, std::int64_t element, double analytic, double numeric) {
    const double error = std::abs(analytic - numeric);
    const double size = std::max(std::abs(analytic), std::abs(numeric));
    const double ratio = error / (options_.absolute_tolerance + options_.relative_tolerance * size);
    if (!(ratio <= 1)) result_.ok = false;
    raise(result_.max_absolute_error, error);
    raise(result_.max_relative_error, error == 0 ? 0 : error / size);
    // The first NaN is the worst there is.
    if (std::isnan(worst_) || ratio <= worst_) return;
    worst_ = ratio;
    result_.input = input;
    result_.element = element;
    result_.analytic = analytic;
    result_.numeric = numeric;
  }

  GradCheckResult verdict() {
    result_.message = format_text(
        "gradients {}: input {}, element {}: backward gives {:.12g}, the difference quotient "
        "{:.12g}; largest absolute error {:.3g}, largest relative error {:.3g}",
        result_.ok ? "agree" : "differ", result_.input, result_.element, result_.analytic,
        result_.numeric, result_.max_absolute_error, result_.max_relative_error);
    return result_;
  }

 private:
  static void raise(double& largest, double value) {
    if (!(value <= largest) && !std::isnan(largest)) largest = value;
  }

  GradCheckOptions options_;
  GradCheckResult result_;
  double worst_ = -1;
};

}  // namespace

GradCheckResult grad_check(const Function& f, const std::vector<Tensor>& inputs,
                           const GradCheckOptions& options) {
  const std::vector<Tensor> leaves = as_leaves(inputs);
  const GradientGuard guard(leaves);

  const Tensor y = f(leaves);
  if (!y.defined() || y.dtype() != DType::float64) {
    throw Error(format_text("grad_check: the output must be float64, but is {}", describe(y)));
  }
  Generator generator{options.seed, 0};
  const Tensor direction = random_normal(y.shape(), 0, 1, generator, DType::float64, y.device());
  const double value = projection(y, direction);
  if (y.requires_grad()) y.backward(direction);

  const NoGradGuard no_grad;
  const double again = projection(f(leaves), direction);
  if (again != value && !(std::isnan(again) && std::isnan(value))) {
    throw Error("grad_check: two calls with the same inputs gave different outputs");
  }
  Judge judge(options);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].defined()) continue;
    const Tensor grad = leaves[i].grad();  // undefined: backward did not reach this input
    for (std::int64_t element = 0; element < leaves[i].count(); ++element) {
      judge.see(i, element, grad.defined() ? element_of(grad, element) : 0.0,
                difference_quotient(f, leaves, leaves[i], element, direction, options.step));
    }
  }
  return judge.verdict();
}

}  // namespace attune
