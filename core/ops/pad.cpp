#include "attune/core/ops/pad.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

struct PadBackward final : Node {
  explicit PadBackward(std::int64_t first_element) : Node("pad"), offset(first_element) {}

  std::int64_t offset;  // of x's first element within the output

  void backward(Tensor grad) override {
    write_gradient(destination(0), grad, row_major(grad.shape()), offset);
  }
};

}  // namespace

Tensor pad(const Tensor& x, const std::vector<std::array<std::int64_t, 2>>& padding, double value) {
  const OpTimer timer("pad");
  check_defined("pad", "input", x);
  if (padding.size() != static_cast<std::size_t>(x.rank())) {
    throw Error(format_text("pad: {} pairs for {}", padding.size(), describe(x)));
  }
  Shape shape;
  for (std::size_t axis = 0; axis < padding.size(); ++axis) {
    const auto [before, after] = padding[axis];
    if (before < 0 || after < 0) {
      throw Error(format_text("pad: negative padding ({}, {}) for axis {} of {}", before, after,
                              axis, describe(x)));
    }
    shape.push_back(x.shape().begin()[axis] + before + after);
  }
  const Strides strides = row_major(shape);
  std::int64_t offset = 0;
  for (std::size_t axis = 0; axis < padding.size(); ++axis) {
    offset += padding[axis][0] * strides[axis];
  }
  Tensor y = Tensor::full(shape, value, x.dtype(), x.device());
  visit_dtype(x.dtype(), [&]<typename T>(T) {
    kernels::scatter_strided(x.device(), advance(y.mutable_data<T>(), offset), x.data<T>(),
                             strided_shape(x.shape(), strides), false);
  });
  record_as<PadBackward>(y, {&x}, offset);
  if (auto* const trace = TraceScope::current()) {
    TracedOp traced{"pad", {x}, y, {{"value", {value}}}};
    for (const auto& [before, after] : padding) {
      traced.options["before"].push_back(static_cast<double>(before));
      traced.options["after"].push_back(static_cast<double>(after));
    }
    trace->add(std::move(traced));
  }
  return y;
}

}  // namespace attune
