#include "attune/core/ops/reduce.h"

#include <algorithm>
#include <numeric>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/permute.h"
#include "attune/core/ops/reshape.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/kernels/reduce.h"

namespace attune {
namespace {

// Which axes go, and what is left.
struct Reduction {
  Shape kept;    // reduced axes have extent 1
  Shape result;  // what the caller gets
  // If the reduced axes lie side by side, x is [outer, middle, inner] and the middle goes.
  // Otherwise `order` is a permutation that puts them last, and x is that once permuted.
  std::vector<std::int64_t> order;
  std::int64_t outer = 1, middle = 1, inner = 1;
};

Reduction plan(const char* op, const Tensor& x, const std::vector<std::int64_t>& axes,
               bool keepdims) {
  check_defined(op, "input", x);
  std::vector<bool> reduced(static_cast<std::size_t>(x.rank()), axes.empty());
  for (const std::size_t axis : axis_indices(op, x, axes)) reduced[axis] = true;

  Reduction r;
  const auto first = std::find(reduced.begin(), reduced.end(), true);
  const auto last = std::find(reduced.rbegin(), reduced.rend(), true).base();
  const bool adjacent = std::all_of(first, std::max(first, last), [](bool b) { return b; });
  std::vector<std::int64_t> leaving;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis) {
    const bool goes = reduced[static_cast<std::size_t>(axis)];
    const std::int64_t size = x.size(axis);
    r.kept.push_back(goes ? 1 : size);
    if (!goes || keepdims) r.result.push_back(goes ? 1 : size);
    (goes ? leaving : r.order).push_back(axis);
    const bool behind = adjacent && !leaving.empty() && !goes;
    (goes ? r.middle : behind ? r.inner : r.outer) *= size;
  }
  r.order.insert(r.order.end(), leaving.begin(), leaving.end());
  if (adjacent) r.order.clear();
  return r;
}

// x with the axes to be reduced side by side, outside any graph.
Tensor arranged(const Tensor& x, const Reduction& r) {
  return r.order.empty() ? x : permute(x.detach(), r.order);
}

struct SumBackward final : Node {
  SumBackward(const char* name, const Reduction& reduction, double factor)
      : Node(name), kept(reduction.kept), scale(factor) {}

  Shape kept;
  double scale;

  void backward(Tensor grad) override {
    if (scale != 1) grad = grad * scale;
    write_gradient(destination(0), grad, broadcast_strides(kept, inputs()[0]->shape));
  }
};

Tensor scaled_sum(const char* op, const Tensor& x, const Reduction& r, double scale) {
  const OpTimer timer(op);
  const Tensor data = arranged(x, r);
  Tensor y = visit_floating(x.dtype(), op, [&]<typename T>(T) {
    Tensor result = Tensor::empty(r.result, x.dtype(), x.device());
    kernels::reduce_sum(x.device(), result.mutable_data<T>(), data.data<T>(), r.outer, r.middle,
                        r.inner, static_cast<T>(scale));
    return result;
  });
  record_as<SumBackward>(y, {&x}, op, r, scale);
  return y;
}

// Largest elements and (unless null) their positions along the reduced axes.
Tensor largest(const char* op, const Tensor& x, const Reduction& r, Tensor* positions) {
  const OpTimer timer(op);
  if (r.middle == 0) throw Error(format_text("{}: nothing to choose from in {}", op, describe(x)));
  if (positions) *positions = Tensor::empty(r.result, DType::int64, x.device());
  return visit_floating(x.dtype(), op, [&]<typename T>(T) {
    Tensor result = Tensor::empty(r.result, x.dtype(), x.device());
    kernels::reduce_max(x.device(), result.mutable_data<T>(),
                        positions ? positions->mutable_data<std::int64_t>() : nullptr, x.data<T>(),
                        r.outer, r.middle, r.inner);
    return result;
  });
}

struct MaxBackward final : Node {
  MaxBackward() : Node("max") {}

  Saved positions;
  std::int64_t outer = 0, middle = 0, inner = 0;

  void backward(Tensor grad) override {
    auto [grad_x, accumulate] = destination(0);
    visit_floating(grad.dtype(), "max", [&, &dx = grad_x, add = accumulate]<typename T>(T) {
      kernels::reduce_max_backward(grad.device(), dx.template mutable_data<T>(), grad.data<T>(),
                                   restore(positions).data<std::int64_t>(), outer, middle, inner,
                                   add);
    });
  }
};

}  // namespace

Tensor sum(const Tensor& x, const std::vector<std::int64_t>& axes, bool keepdims) {
  return scaled_sum("sum", x, plan("sum", x, axes, keepdims), 1);
}

Tensor mean(const Tensor& x, const std::vector<std::int64_t>& axes, bool keepdims) {
  const Reduction r = plan("mean", x, axes, keepdims);
  return scaled_sum("mean", x, r, 1 / static_cast<double>(r.middle));
}

Tensor max(const Tensor& x, const std::vector<std::int64_t>& axes, bool keepdims) {
  const Reduction r = plan("max", x, axes, keepdims);
  if (!r.order.empty()) {
    std::vector<std::int64_t> last(axes.size());
    std::iota(last.begin(), last.end(), -static_cast<std::int64_t>(axes.size()));
    return reshape(max(permute(x, r.order), last), r.result);
  }
  if (!any_requires_grad({&x}) || !grad_enabled()) return largest("max", x, r, nullptr);
  Tensor positions;
  Tensor y = largest("max", x, r, &positions);
  if (auto node = record<MaxBackward>(y, x)) {
    node->positions = node->save(positions);
    node->outer = r.outer;
    node->middle = r.middle;
    node->inner = r.inner;
  }
  return y;
}

Tensor argmax(const Tensor& x, std::int64_t axis, bool keepdims) {
  Tensor positions;
  largest("argmax", x, plan("argmax", x, {axis}, keepdims), &positions);
  return positions;
}

}  // namespace attune
