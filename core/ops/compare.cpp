#include "attune/core/ops/compare.h"

#include "attune/core/ops/strided.h"
#include "attune/core/profile.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

using kernels::CompareOp;

Tensor compute(const char* op, CompareOp kind, const Tensor& a, const Tensor& b) {
  const OpTimer timer(op);
  check_compatible(op, a, b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  const auto space = strided_shape(shape, broadcast_strides(a.shape(), shape),
                                   broadcast_strides(b.shape(), shape));
  Tensor y = Tensor::empty(shape, DType::uint8, a.device());
  visit_dtype(a.dtype(), [&]<typename T>(T) {
    kernels::compare(a.device(), kind, y.mutable_data<std::uint8_t>(), a.data<T>(), b.data<T>(),
                     space);
  });
  return y;
}

}  // namespace

Tensor equal(const Tensor& a, const Tensor& b) { return compute("equal", CompareOp::equal, a, b); }

Tensor not_equal(const Tensor& a, const Tensor& b) {
  return compute("not_equal", CompareOp::not_equal, a, b);
}

Tensor less(const Tensor& a, const Tensor& b) { return compute("less", CompareOp::less, a, b); }

Tensor less_equal(const Tensor& a, const Tensor& b) {
  return compute("less_equal", CompareOp::less_equal, a, b);
}

Tensor greater(const Tensor& a, const Tensor& b) {
  return compute("greater", CompareOp::greater, a, b);
}

Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compute("greater_equal", CompareOp::greater_equal, a, b);
}

}  // namespace attune
