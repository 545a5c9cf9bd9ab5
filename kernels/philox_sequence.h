#pragma once

#include <array>
#include <cstdint>

#include "attune/kernels/philox.h"

// Random numbers one after the other: the words of philox(seed, stream, 0), philox(seed, stream,
// 1),
// ..., and what is made of them, on the CPU and on GPUs alike.
namespace attune::kernels {

/// Uniform in [0, 1): 53 of the 64 bits of two words.
constexpr double uniform_from(std::uint32_t high, std::uint32_t low) {
  return static_cast<double>((std::uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

class PhiloxSequence {
 public:
  constexpr PhiloxSequence(std::uint64_t seed, std::uint64_t stream)
      : seed_(seed), stream_(stream) {}

  constexpr std::uint32_t next() {
    if (position_ % 4 == 0) block_ = philox(seed_, stream_, position_ / 4);
    return block_[position_++ % 4];
  }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;  // in words
  std::array<std::uint32_t, 4> block_{};
};

/// Uniform in [0, 1), from the next two words of a sequence.
template <typename Sequence>
constexpr double next_uniform(Sequence& words) {
  const std::uint32_t high = words.next();
  return uniform_from(high, words.next());
}

/// Uniform in {0, ..., n - 1}, without bias; n > 0. From the next two words, hardly ever more.
template <typename Sequence>
constexpr std::int64_t next_below(Sequence& words, std::int64_t n) {
  const auto bound = static_cast<std::uint64_t>(n);
  // Values past the last whole multiple of n would favour small results: draw again.
  const std::uint64_t limit = bound * (~std::uint64_t{0} / bound);
  std::uint64_t value = 0;
  do {
    value = std::uint64_t{words.next()} << 32;
    value |= words.next();
  } while (value >= limit);
  return static_cast<std::int64_t>(value % bound);
}

}  // namespace attune::kernels
