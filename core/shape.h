#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace attune {

/// The extents of a tensor, outermost first: up to kMaxRank of them, each at least 0. A scalar has
/// rank 0 and one element.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes);
  explicit Shape(const std::vector<std::int64_t>& sizes);

  int rank() const { return rank_; }
  /// Product of the extents; 1 for a scalar.
  std::int64_t count() const;
  /// Extent of an axis; negative axes count from the end. Throws Error if there is no such axis.
  std::int64_t operator[](std::int64_t axis) const { return sizes_[axis_index(axis)]; }
  void set(std::int64_t axis, std::int64_t size) { sizes_[axis_index(axis)] = size; }
  void push_back(std::int64_t size);
  /// Maps a possibly negative axis to 0 ... rank - 1. Throws Error if there is no such axis.
  std::size_t axis_index(std::int64_t axis) const;

  const std::int64_t* begin() const { return sizes_.data(); }
  const std::int64_t* end() const { return sizes_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.sizes_ == b.sizes_;
  }

 private:
  void validate(std::size_t rank) const;

  std::array<std::int64_t, kMaxRank> sizes_{};  // beyond rank_: zeros, so that == can compare all
  int rank_ = 0;
};

/// "[128, 32, 32, 16]".
std::string to_string(const Shape& shape);

/// The shape that `a` and `b` broadcast to (NumPy's rule: aligned at the last axis, extent 1
/// repeats). Throws Error, beginning with `op`, if they do not.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

}  // namespace attune
