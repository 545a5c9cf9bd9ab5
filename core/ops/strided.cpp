#include "attune/core/ops/strided.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {

static_assert(kernels::kMaxRank == Shape::kMaxRank);

Strides row_major(const Shape& shape) {
  Strides strides{};
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

Strides broadcast_strides(const Shape& from, const Shape& to) {
  const Strides own = row_major(from);
  const std::int64_t missing = to.rank() - from.rank();
  Strides strides{};
  for (std::int64_t axis = 0; axis < from.rank(); ++axis) {
    const bool repeated = from[axis] == 1;
    strides[static_cast<std::size_t>(axis + missing)] =
        repeated ? 0 : own[static_cast<std::size_t>(axis)];
  }
  return strides;
}

kernels::StridedShape strided_shape(const Shape& shape, const Strides& a, const Strides& b) {
  kernels::StridedShape result;
  result.rank = shape.rank();
  std::copy(shape.begin(), shape.end(), result.size.begin());
  result.stride_a = a;
  result.stride_b = b;
  return result;
}

void check_defined(const char* op, const char* argument, const Tensor& tensor) {
  if (!tensor.defined()) throw Error(format_text("{}: {} is undefined", op, argument));
}

std::size_t axis_index(const char* op, const Tensor& x, std::int64_t axis) {
  const std::int64_t index = axis < 0 ? axis + x.rank() : axis;
  if (index < 0 || index >= x.rank()) {
    throw Error(format_text("{}: {} has no axis {}", op, describe(x), axis));
  }
  return static_cast<std::size_t>(index);
}

std::vector<std::size_t> axis_indices(const char* op, const Tensor& x,
                                      const std::vector<std::int64_t>& axes) {
  std::vector<std::size_t> indices;
  for (const std::int64_t axis : axes) {
    const std::size_t index = axis_index(op, x, axis);
    if (std::find(indices.begin(), indices.end(), index) != indices.end()) {
      throw Error(format_text("{}: axes ({}) name axis {} of {} twice", op, join_text(axes, ", "),
                              index, describe(x)));
    }
    indices.push_back(index);
  }
  return indices;
}

void write_gradient(GradDestination destination, const Tensor& source, const Strides& strides,
                    std::int64_t offset) {
  Tensor& grad = destination.grad;
  visit_floating(grad.dtype(), "backward", [&]<typename T>(T) {
    T* out = grad.mutable_data<T>();
    const T* in = advance(source.data<T>(), offset);
    if (destination.accumulate) {
      kernels::binary(grad.device(), kernels::BinaryOp::add, out, out, in,
                      strided_shape(grad.shape(), row_major(grad.shape()), strides));
    } else {
      kernels::copy_strided(grad.device(), out, in, strided_shape(grad.shape(), strides));
    }
  });
}

}  // namespace attune
