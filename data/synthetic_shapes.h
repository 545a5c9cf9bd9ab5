#pragma once

#include <cstdint>

#include "attune/data/dataset.h"

namespace attune {

/// Where a synthetic image comes from. Both domains show the same shapes; `source` in bright
/// colours on dark grounds, `target` in duller colours on lighter, rippled grounds, with less
/// contrast and in a yellow light. Train on source, then fine-tune on target.
enum class Domain { source, target };

/// "source", "target".
const char* to_string(Domain domain);

/// A data set made by a program: 32x32 colour images of ten classes (disc, ring, square, triangle,
/// cross, star, crescent, half disc, stripes, checks) at random places, sizes, angles and colours,
/// among stray strokes. Made for runs without a download, and to be learned in minutes, but not at
/// once. Image i has class i modulo 10 and is a function of the domain, the split, `seed` and i
/// alone.
class SyntheticShapes : public InMemoryDataset {
 public:
  /// Draws `count` images (less than 0.1 milliseconds each on one thread) and keeps them in memory
  /// (3 KiB each).
  SyntheticShapes(Domain domain, Split split, std::int64_t count, std::uint64_t seed = 0);
};

}  // namespace attune
