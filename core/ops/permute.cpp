#include "attune/core/ops/permute.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

struct PermuteBackward final : Node {
  explicit PermuteBackward(std::vector<std::size_t> order)
      : Node("permute"), axes(std::move(order)) {}

  std::vector<std::size_t> axes;

  void backward(Tensor grad) override {
    const Strides own = row_major(grad.shape());
    Strides strides{};  // of grad, for an index that runs through x
    for (std::size_t i = 0; i < axes.size(); ++i) strides[axes[i]] = own[i];
    write_gradient(destination(0), grad, strides);
  }
};

}  // namespace

Tensor permute(const Tensor& x, const std::vector<std::int64_t>& axes) {
  const OpTimer timer("permute");
  check_defined("permute", "input", x);
  const std::vector<std::size_t> order = axis_indices("permute", x, axes);
  if (order.size() != static_cast<std::size_t>(x.rank())) {
    throw Error(format_text("permute: {} axes for {}", axes.size(), describe(x)));
  }
  const Strides own = row_major(x.shape());
  Shape shape;
  Strides strides{};
  for (std::size_t i = 0; i < order.size(); ++i) {
    shape.push_back(x.shape().begin()[order[i]]);
    strides[i] = own[order[i]];
  }
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  visit_dtype(x.dtype(), [&]<typename T>(T) {
    kernels::copy_strided(x.device(), y.mutable_data<T>(), x.data<T>(),
                          strided_shape(shape, strides));
  });
  record_as<PermuteBackward>(y, {&x}, order);
  if (auto* const trace = TraceScope::current()) {
    trace->add({"permute", {x}, y, {{"axes", traced_numbers(order)}}});
  }
  return y;
}

Tensor transpose(const Tensor& x) {
  check_rank("transpose", "input", x, 2);
  return permute(x, {1, 0});
}

}  // namespace attune
