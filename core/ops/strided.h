#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/tensor.h"
#include "attune/kernels/elementwise.h"

// How operations that move or repeat elements describe themselves to the kernels: an index space,
// and the element strides with which a tensor is read or written as the index runs through it.

namespace attune {

using Strides = std::array<std::int64_t, kernels::kMaxRank>;

/// Strides of a contiguous tensor.
Strides row_major(const Shape& shape);

/// Strides that read a tensor of shape `from` as if it had shape `to`, to which it broadcasts: zero
/// along the axes it is repeated over.
Strides broadcast_strides(const Shape& from, const Shape& to);

/// The kernels' description of `shape`, walked by operands with strides `a` and `b`.
kernels::StridedShape strided_shape(const Shape& shape, const Strides& a, const Strides& b = {});

/// Throws Error, beginning with `op`, if `tensor` is undefined; `argument` names it.
void check_defined(const char* op, const char* argument, const Tensor& tensor);

/// Shape::axis_index() with an error that begins with `op`.
std::size_t axis_index(const char* op, const Tensor& x, std::int64_t axis);

/// Axis numbers 0 ... rank - 1 for `axes`, in their order. Throws Error, beginning with `op`, if
/// one does not exist or appears twice.
std::vector<std::size_t> axis_indices(const char* op, const Tensor& x,
                                      const std::vector<std::int64_t>& axes);

/// Fills or adds to a gradient from elements of `source`, read with `strides` beginning at element
/// `offset`.
void write_gradient(GradDestination destination, const Tensor& source, const Strides& strides,
                    std::int64_t offset = 0);

/// `data` + `offset`; null (of an empty tensor, or on Device::meta) stays null.
template <typename T>
T* advance(T* data, std::int64_t offset) {
  return data == nullptr ? nullptr : data + offset;
}

}  // namespace attune
