#pragma once

#include <array>
#include <cstdint>

#include "attune/core/tensor.h"
#include "attune/kernels/philox.h"  // IWYU pragma: export

namespace attune {

/// A sequence of random numbers: `seed` picks the family, `stream` an independent member of it (an
/// epoch, a sample index). Cheap to make; two with equal arguments give equal sequences.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  std::uint32_t next();
  /// Uniform in [0, 1).
  double uniform();
  /// Uniform in {0, ..., n - 1}, without bias; n > 0.
  std::int64_t below(std::int64_t n);
  /// Standard normal.
  double normal();

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;  // in 32-bit words
  std::array<std::uint32_t, 4> block_{};
};

/// Hands out independent streams, one per use: initialisers and dropout take the next one each
/// time. Its whole state is two integers.
struct Generator {
  std::uint64_t seed = 0;
  std::uint64_t uses = 0;

  std::uint64_t next_stream() { return uses++; }
};

/// The generator used where none is given; every thread has its own.
Generator& default_generator();

/// Restarts this thread's default_generator() with `seed`.
void manual_seed(std::uint64_t seed);

/// Tensor of independent uniform values in [low, high); in float32, rounding may give `high`. The
/// same values on every device: they are computed on the CPU.
Tensor random_uniform(const Shape& shape, double low, double high, Generator& generator,
                      DType dtype = DType::float32, Device device = DefaultDevice::current());

/// Tensor of independent normal values, likewise.
Tensor random_normal(const Shape& shape, double mean, double deviation, Generator& generator,
                     DType dtype = DType::float32, Device device = DefaultDevice::current());

}  // namespace attune
