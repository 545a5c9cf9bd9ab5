#pragma once

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/elementwise.h"

namespace attune::kernels::cpu {

/// Neighbouring elements of a row-major index space, in which both operands advance by one stride.
struct StridedRun {
  std::int64_t first = 0, size = 0;         ///< row-major indices [first, first + size)
  std::int64_t offset_a = 0, offset_b = 0;  ///< where the operands' first elements are
  std::int64_t stride_a = 0, stride_b = 0;
};

/// The same index space in as few dimensions as possible, at least one: those of size 1 go, and
/// neighbours that both operands pass through with one stride become one.
inline StridedShape merge_dimensions(const StridedShape& shape) {
  StridedShape merged;
  for (int d = 0; d < shape.rank; ++d) {
    const auto from = static_cast<std::size_t>(d);
    const std::int64_t size = shape.size[from];
    const std::int64_t stride_a = shape.stride_a[from], stride_b = shape.stride_b[from];
    if (size == 1) continue;
    if (merged.rank > 0) {
      const auto last = static_cast<std::size_t>(merged.rank - 1);
      if (merged.stride_a[last] == size * stride_a && merged.stride_b[last] == size * stride_b) {
        merged.size[last] *= size;
        merged.stride_a[last] = stride_a;
        merged.stride_b[last] = stride_b;
        continue;
      }
    }
    const auto to = static_cast<std::size_t>(merged.rank++);
    merged.size[to] = size;
    merged.stride_a[to] = stride_a;
    merged.stride_b[to] = stride_b;
  }
  if (merged.rank == 0) merged.size[static_cast<std::size_t>(merged.rank++)] = 1;
  return merged;
}

/// Calls body(run) for runs that cover `shape`, on several threads if it is large. An operand that
/// the caller does not have may have any strides.
template <typename Body>
void for_each_run(const StridedShape& shape, const Body& body) {
  const StridedShape merged = merge_dimensions(shape);
  const auto inner = static_cast<std::size_t>(merged.rank - 1);
  parallel_for_ranges(merged.count(), kGrain, [&](Range range) {
    // Where in the index space the range begins.
    std::array<std::int64_t, kMaxRank> index{};
    StridedRun run{range.first, 0, 0, 0, merged.stride_a[inner], merged.stride_b[inner]};
    std::int64_t rest = range.first;
    for (std::size_t d = inner + 1; d-- > 0;) {
      index[d] = rest % merged.size[d];
      rest /= merged.size[d];
      run.offset_a += index[d] * merged.stride_a[d];
      run.offset_b += index[d] * merged.stride_b[d];
    }

    while (run.first < range.last) {
      run.size = std::min(merged.size[inner] - index[inner], range.last - run.first);
      body(run);
      run.first += run.size;
      index[inner] += run.size;
      run.offset_a += run.size * run.stride_a;
      run.offset_b += run.size * run.stride_b;
      // Carry into the outer dimensions, as an odometer does.
      for (std::size_t d = inner; d > 0 && index[d] == merged.size[d]; --d) {
        index[d] = 0;
        ++index[d - 1];
        run.offset_a += merged.stride_a[d - 1] - merged.size[d] * merged.stride_a[d];
        run.offset_b += merged.stride_b[d - 1] - merged.size[d] * merged.stride_b[d];
      }
    }
  });
}

}  // namespace attune::kernels::cpu
