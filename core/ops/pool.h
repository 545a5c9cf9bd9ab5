#pragma once

#include <array>
#include <cstdint>

#include "attune/core/tensor.h"

// Pooling of images x [N, H, W, C] over windows of R x S pixels, R * S <= 255. The output has
// P = (H + 2 padding - R) / stride + 1 rows, rounded down, and likewise Q columns.

namespace attune {

/// How a window slides: (vertical, horizontal) pairs.
struct Pool2dOptions {
  std::array<std::int64_t, 2> window{2, 2};
  std::array<std::int64_t, 2> stride{0, 0};   ///< 0: the window's extent
  std::array<std::int64_t, 2> padding{0, 0};  ///< on both sides, at most half the window
};

/// y [N, P, Q, C] = the largest element of each window; padding does not take part, a NaN wins. The
/// gradient goes to the first largest element alone. Keeps its position within the window, one byte
/// an output.
Tensor max_pool2d(const Tensor& x, const Pool2dOptions& options);

/// y [N, P, Q, C] = sum over each window / (R * S); padding counts as zeros. Keeps nothing.
Tensor avg_pool2d(const Tensor& x, const Pool2dOptions& options);

/// y [N, C] = mean over all pixels. Keeps nothing.
Tensor global_avg_pool(const Tensor& x);

}  // namespace attune
