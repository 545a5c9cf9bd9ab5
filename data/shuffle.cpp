#include "attune/data/shuffle.h"

#include <cstddef>
#include <numeric>
#include <utility>

#include "attune/core/random.h"

namespace attune {

std::uint64_t derive_seed(std::uint64_t seed, RandomUse use, std::uint64_t member) {
  const auto words = philox(seed, static_cast<std::uint64_t>(use), member);
  return std::uint64_t{words[0]} << 32 | words[1];
}

// Fisher and Yates (1938), in Durstenfeld's form.
std::vector<std::int64_t> shuffled_indices(std::int64_t count, std::uint64_t seed) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  RandomStream random(seed);
  for (std::int64_t last = count - 1; last > 0; --last) {
    const std::int64_t other = random.below(last + 1);
    std::swap(indices[static_cast<std::size_t>(last)], indices[static_cast<std::size_t>(other)]);
  }
  return indices;
}

}  // namespace attune
