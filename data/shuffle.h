#pragma once

#include <cstdint>
#include <vector>

namespace attune {

/// The uses of random numbers in this room. One user-given seed serves all of them; each draws from
/// its own family of streams, so that, say, what a synthetic image looks like is independent of how
/// it is cropped.
enum class RandomUse : std::uint64_t { shuffle, augment, subset, source_domain, target_domain };

/// The seed of one use, and of one member of it (an epoch, a split).
std::uint64_t derive_seed(std::uint64_t seed, RandomUse use, std::uint64_t member = 0);

/// 0, ..., count - 1 in an order fixed by `seed`; every order is equally likely.
std::vector<std::int64_t> shuffled_indices(std::int64_t count, std::uint64_t seed);

}  // namespace attune
