#include "attune/core/ops/reshape.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"

namespace attune {
namespace {

struct ReshapeBackward final : Node {
  ReshapeBackward() : Node("reshape") {}

  void backward(Tensor grad) override {
    Tensor grad_x = grad.view(inputs()[0]->shape);
    grad = {};  // so that grad_x is the only owner, if grad was
    add_grad(0, std::move(grad_x));
  }
};

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
  const OpTimer timer("reshape");
  check_defined("reshape", "input", x);
  if (shape.count() != x.count()) {
    throw Error(format_text("reshape: {} cannot become {}", describe(x), to_string(shape)));
  }
  Tensor y = x.view(shape);
  record<ReshapeBackward>(y, x);
  if (auto* const trace = TraceScope::current()) trace->add({"reshape", {x}, y});
  return y;
}

Tensor flatten(const Tensor& x, std::int64_t first_axis) {
  check_defined("flatten", "input", x);
  const std::size_t first = axis_index("flatten", x, first_axis);
  Shape shape;
  std::int64_t merged = 1;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(x.rank()); ++axis) {
    const std::int64_t size = x.shape().begin()[axis];
    if (axis < first) {
      shape.push_back(size);
    } else {
      merged *= size;
    }
  }
  shape.push_back(merged);
  return reshape(x, shape);
}

}  // namespace attune
