#include "attune/core/ops/unary.h"

#include "attune/core/autograd.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

using kernels::UnaryOp;

constexpr int kRelu6Bound = 6;

Tensor apply(UnaryOp kind, const char* op, const Tensor& x) {
  const OpTimer timer(op);
  check_defined(op, "input", x);
  return visit_floating(x.dtype(), op, [&]<typename T>(T) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
    kernels::unary(x.device(), kind, y.mutable_data<T>(), x.data<T>(), x.count());
    return y;
  });
}

Tensor power(const Tensor& x, double exponent) {
  const OpTimer timer("pow");
  check_defined("pow", "input", x);
  return visit_floating(x.dtype(), "pow", [&]<typename T>(T) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
    kernels::power(x.device(), y.mutable_data<T>(), x.data<T>(), static_cast<T>(exponent),
                   x.count());
    return y;
  });
}

Tensor clamped(const Tensor& x) {
  const OpTimer timer("relu6");
  check_defined("relu6", "input", x);
  return visit_floating(x.dtype(), "relu6", [&]<typename T>(T) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
    kernels::clamp(x.device(), y.mutable_data<T>(), x.data<T>(), T(0), T(kRelu6Bound), x.count());
    return y;
  });
}

struct ExpBackward final : Node {
  ExpBackward() : Node("exp") {}

  Saved y;

  void backward(Tensor grad) override { add_grad(0, grad * restore(y)); }
};

struct LogBackward final : Node {
  LogBackward() : Node("log") {}

  Saved x;

  void backward(Tensor grad) override { add_grad(0, grad / restore(x)); }
};

struct SqrtBackward final : Node {
  SqrtBackward() : Node("sqrt") {}

  Saved y;

  void backward(Tensor grad) override { add_grad(0, grad / (2 * restore(y))); }
};

struct PowBackward final : Node {
  PowBackward() : Node("pow") {}

  Saved x;
  double exponent = 0;

  void backward(Tensor grad) override {
    // x^-1 is infinite at 0, and 0 * infinity would not be the derivative of a constant.
    const bool constant = exponent == 0;
    add_grad(0, constant ? grad * 0 : grad * (exponent * power(restore(x), exponent - 1)));
  }
};

struct AbsBackward final : Node {
  AbsBackward() : Node("abs") {}

  Saved x;

  void backward(Tensor grad) override {
    add_grad(0, grad * apply(UnaryOp::sign, "abs", restore(x)));
  }
};

struct ReluBackward final : Node {
  ReluBackward() : Node("relu") {}

  Saved y;

  void backward(Tensor grad) override { add_grad(0, through_relu(std::move(grad), y)); }
};

struct Relu6Backward final : Node {
  Relu6Backward() : Node("relu6") {}

  Saved y;

  void backward(Tensor grad) override {
    const auto [grad_x, accumulate] = destination(0);
    visit_floating(grad.dtype(), name(), [&, dx = grad_x, add = accumulate]<typename T>(T) mutable {
      kernels::clamp_backward(grad.device(), dx.template mutable_data<T>(), grad.data<T>(),
                              restore(y).template data<T>(), T(0), T(kRelu6Bound), grad.count(),
                              add);
    });
  }
};

struct SigmoidBackward final : Node {
  SigmoidBackward() : Node("sigmoid") {}

  Saved y;

  void backward(Tensor grad) override {
    const Tensor value = restore(y);
    add_grad(0, grad * value * (1 - value));
  }
};

struct TanhBackward final : Node {
  TanhBackward() : Node("tanh") {}

  Saved y;

  void backward(Tensor grad) override {
    const Tensor value = restore(y);
    add_grad(0, grad * (1 - value * value));
  }
};

}  // namespace

Tensor exp(const Tensor& x) {
  Tensor y = apply(UnaryOp::exp, "exp", x);
  if (auto node = record<ExpBackward>(y, x)) node->y = node->save(y);
  return y;
}

Tensor log(const Tensor& x) {
  Tensor y = apply(UnaryOp::log, "log", x);
  if (auto node = record<LogBackward>(y, x)) node->x = node->save(x);
  return y;
}

Tensor sqrt(const Tensor& x) {
  Tensor y = apply(UnaryOp::sqrt, "sqrt", x);
  if (auto node = record<SqrtBackward>(y, x)) node->y = node->save(y);
  return y;
}

Tensor pow(const Tensor& x, double exponent) {
  Tensor y = power(x, exponent);
  if (auto node = record<PowBackward>(y, x)) {
    node->exponent = exponent;
    node->x = node->save(x);
  }
  return y;
}

Tensor abs(const Tensor& x) {
  Tensor y = apply(UnaryOp::abs, "abs", x);
  if (auto node = record<AbsBackward>(y, x)) node->x = node->save(x);
  return y;
}

Tensor relu(const Tensor& x) {
  Tensor y = apply(UnaryOp::relu, "relu", x);
  if (auto node = record<ReluBackward>(y, x)) node->y = node->save_relu_output(y);
  if (auto* const trace = TraceScope::current()) trace->add({"relu", {x}, y});
  return y;
}

Tensor relu6(const Tensor& x) {
  Tensor y = clamped(x);
  if (auto node = record<Relu6Backward>(y, x)) node->y = node->save(y);
  if (auto* const trace = TraceScope::current()) trace->add({"relu6", {x}, y});
  return y;
}

Tensor sigmoid(const Tensor& x) {
  Tensor y = apply(UnaryOp::sigmoid, "sigmoid", x);
  if (auto node = record<SigmoidBackward>(y, x)) node->y = node->save(y);
  return y;
}

Tensor tanh(const Tensor& x) {
  Tensor y = apply(UnaryOp::tanh, "tanh", x);
  if (auto node = record<TanhBackward>(y, x)) node->y = node->save(y);
  return y;
}

}  // namespace attune
