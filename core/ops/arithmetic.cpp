#include "attune/core/ops/arithmetic.h"

#include "attune/core/autograd.h"
#include "attune/core/ops/reduce.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

using kernels::BinaryOp;

enum Input { a_input, b_input };

Tensor compute(const char* op, BinaryOp kind, const Tensor& a, const Tensor& b) {
  const OpTimer timer(op);
  check_compatible(op, a, b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  const auto space = strided_shape(shape, broadcast_strides(a.shape(), shape),
                                   broadcast_strides(b.shape(), shape));
  return visit_floating(a.dtype(), op, [&]<typename T>(T) {
    Tensor y = Tensor::empty(shape, a.dtype(), a.device());
    kernels::binary(a.device(), kind, y.mutable_data<T>(), a.data<T>(), b.data<T>(), space);
    return y;
  });
}

// The adjoint of broadcasting `shape` to grad's shape. Hands `grad` itself on if they are equal.
Tensor sum_to_shape(Tensor grad, const Shape& shape) {
  if (grad.shape() == shape) return grad;
  const int missing = grad.rank() - shape.rank();
  std::vector<std::int64_t> repeated;
  for (int axis = 0; axis < grad.rank(); ++axis) {
    if (axis < missing || shape[axis - missing] != grad.shape()[axis]) repeated.push_back(axis);
  }
  return sum(grad, repeated).view(shape);
}

// -grad, in place if nobody else holds it.
Tensor negated(Tensor grad) {
  if (grad.shared_storage().use_count() > 1) return negate(grad);
  visit_floating(grad.dtype(), "backward", [&]<typename T>(T) {
    kernels::scale(grad.device(), grad.mutable_data<T>(), T(-1), grad.count());
  });
  return grad;
}

struct AddBackward final : Node {
  AddBackward() : Node("add") {}

  void backward(Tensor grad) override {
    if (needs(a_input)) add_grad(a_input, sum_to_shape(grad, inputs()[a_input]->shape));
    if (needs(b_input)) add_grad(b_input, sum_to_shape(std::move(grad), inputs()[b_input]->shape));
  }
};

struct SubtractBackward final : Node {
  SubtractBackward() : Node("subtract") {}

  void backward(Tensor grad) override {
    if (needs(a_input)) add_grad(a_input, sum_to_shape(grad, inputs()[a_input]->shape));
    if (needs(b_input)) {
      add_grad(b_input, negated(sum_to_shape(std::move(grad), inputs()[b_input]->shape)));
    }
  }
};

struct MultiplyBackward final : Node {
  MultiplyBackward() : Node("multiply") {}

  Saved a, b;

  void backward(Tensor grad) override {
    if (needs(a_input))
      add_grad(a_input, sum_to_shape(grad * restore(b), inputs()[a_input]->shape));
    if (needs(b_input))
      add_grad(b_input, sum_to_shape(grad * restore(a), inputs()[b_input]->shape));
  }
};

struct DivideBackward final : Node {
  DivideBackward() : Node("divide") {}

  Saved a, b;

  void backward(Tensor grad) override {
    Tensor grad_a = grad / restore(b);
    if (needs(b_input)) {  // d(a/b)/db = -(a/b) / b
      Tensor grad_b = grad_a * (restore(a) / restore(b));
      add_grad(b_input, negated(sum_to_shape(std::move(grad_b), inputs()[b_input]->shape)));
    }
    if (needs(a_input)) {
      add_grad(a_input, sum_to_shape(std::move(grad_a), inputs()[a_input]->shape));
    }
  }
};

struct NegateBackward final : Node {
  NegateBackward() : Node("negate") {}

  void backward(Tensor grad) override { add_grad(0, negated(std::move(grad))); }
};

Tensor scalar_like(double value, const Tensor& other) {
  check_defined("arithmetic", "operand", other);
  return Tensor::scalar(value, other.dtype(), other.device());
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  Tensor y = compute("add", BinaryOp::add, a, b);
  record<AddBackward>(y, a, b);
  if (auto* const trace = TraceScope::current()) trace->add({"add", {a, b}, y});
  return y;
}

Tensor subtract(const Tensor& a, const Tensor& b) {
  Tensor y = compute("subtract", BinaryOp::subtract, a, b);
  record<SubtractBackward>(y, a, b);
  return y;
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  Tensor y = compute("multiply", BinaryOp::multiply, a, b);
  if (auto node = record<MultiplyBackward>(y, a, b)) {
    if (node->needs(b_input)) node->a = node->save(a);
    if (node->needs(a_input)) node->b = node->save(b);
  }
  return y;
}

Tensor divide(const Tensor& a, const Tensor& b) {
  Tensor y = compute("divide", BinaryOp::divide, a, b);
  if (auto node = record<DivideBackward>(y, a, b)) {
    if (node->needs(b_input)) node->a = node->save(a);
    node->b = node->save(b);
  }
  return y;
}

Tensor negate(const Tensor& x) {
  const OpTimer timer("negate");
  check_defined("negate", "input", x);
  Tensor y = visit_floating(x.dtype(), "negate", [&]<typename T>(T) {
    Tensor result = Tensor::empty(x.shape(), x.dtype(), x.device());
    kernels::unary(x.device(), kernels::UnaryOp::negate, result.mutable_data<T>(), x.data<T>(),
                   x.count());
    return result;
  });
  record<NegateBackward>(y, x);
  return y;
}

Tensor operator+(const Tensor& a, double b) { return add(a, scalar_like(b, a)); }
Tensor operator-(const Tensor& a, double b) { return subtract(a, scalar_like(b, a)); }
Tensor operator*(const Tensor& a, double b) { return multiply(a, scalar_like(b, a)); }
Tensor operator/(const Tensor& a, double b) { return divide(a, scalar_like(b, a)); }
Tensor operator+(double a, const Tensor& b) { return add(scalar_like(a, b), b); }
Tensor operator-(double a, const Tensor& b) { return subtract(scalar_like(a, b), b); }
Tensor operator*(double a, const Tensor& b) { return multiply(scalar_like(a, b), b); }
Tensor operator/(double a, const Tensor& b) { return divide(scalar_like(a, b), b); }

}  // namespace attune
