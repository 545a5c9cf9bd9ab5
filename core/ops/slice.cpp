#include "attune/core/ops/slice.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

struct SliceBackward final : Node {
  explicit SliceBackward(std::int64_t first_element) : Node("slice"), offset(first_element) {}

  std::int64_t offset;  // of the slice's first element within x

  void backward(Tensor grad) override {
    auto [grad_x, accumulate] = destination(0);
    if (!accumulate) grad_x.fill_(0);
    visit_floating(grad.dtype(), "slice", [&, &out = grad_x]<typename T>(T) {
      kernels::scatter_strided(grad.device(), advance(out.template mutable_data<T>(), offset),
                               grad.data<T>(), strided_shape(grad.shape(), row_major(out.shape())),
                               true);
    });
  }
};

}  // namespace

Tensor slice(const Tensor& x, std::int64_t axis, std::int64_t begin, std::int64_t end) {
  const OpTimer timer("slice");
  check_defined("slice", "input", x);
  const std::size_t index = axis_index("slice", x, axis);
  const std::int64_t size = x.shape().begin()[index];
  const std::int64_t first = begin < 0 ? begin + size : begin;
  const std::int64_t last = end < 0 ? end + size : end;
  if (first < 0 || first > last || last > size) {
    throw Error(format_text("slice: [{}, {}) does not lie within axis {} of {}", begin, end, axis,
                            describe(x)));
  }
  const Strides strides = row_major(x.shape());
  const std::int64_t offset = first * strides[index];
  Shape shape = x.shape();
  shape.set(axis, last - first);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  visit_dtype(x.dtype(), [&]<typename T>(T) {
    kernels::copy_strided(x.device(), y.mutable_data<T>(), advance(x.data<T>(), offset),
                          strided_shape(shape, strides));
  });
  record_as<SliceBackward>(y, {&x}, offset);
  return y;
}

}  // namespace attune
