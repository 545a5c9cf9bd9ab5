#include "attune/core/shape.h"

#include <algorithm>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {

Shape::Shape(std::initializer_list<std::int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
  validate(sizes.size());
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  count();
}

Shape::Shape(const std::vector<std::int64_t>& sizes) : rank_(static_cast<int>(sizes.size())) {
  validate(sizes.size());
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  count();
}

void Shape::validate(std::size_t rank) const {
  if (rank > kMaxRank) {
    throw Error(format_text("shape: rank {} is more than the {} supported", rank, kMaxRank));
  }
}

std::int64_t Shape::count() const {
  std::int64_t product = 1;
  for (std::int64_t size : *this) {
    if (size < 0) throw Error(format_text("shape: negative extent in {}", to_string(*this)));
    if (__builtin_mul_overflow(product, size, &product)) {
      throw Error(format_text("shape: {} has too many elements", to_string(*this)));
    }
  }
  return product;
}

void Shape::push_back(std::int64_t size) {
  validate(static_cast<std::size_t>(rank_) + 1);
  sizes_[static_cast<std::size_t>(rank_++)] = size;
}

std::size_t Shape::axis_index(std::int64_t axis) const {
  const std::int64_t index = axis < 0 ? axis + rank_ : axis;
  if (index < 0 || index >= rank_) {
    throw Error(format_text("shape: {} has no axis {}", to_string(*this), axis));
  }
  return static_cast<std::size_t>(index);
}

std::string to_string(const Shape& shape) { return "[" + join_text(shape, ", ") + "]"; }

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  Shape longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  for (int axis = 1; axis <= shorter.rank(); ++axis) {
    const std::int64_t x = longer[-axis];
    const std::int64_t y = shorter[-axis];
    if (x != y && x != 1 && y != 1) {
      throw Error(
          format_text("{}: shapes {} and {} do not broadcast", op, to_string(a), to_string(b)));
    }
    longer.set(-axis, x == 1 ? y : x);
  }
  return longer;
}

}  // namespace attune
