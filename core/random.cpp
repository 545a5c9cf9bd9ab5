#include "attune/core/random.h"

#include <cmath>
#include <numbers>

#include "attune/core/error.h"

namespace attune {
namespace {

// Multipliers and key increments of Philox4x32 (Salmon et al., table 2 and section 4).
constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

// 53 random bits in [0, 1).
double uniform_double(std::uint32_t a, std::uint32_t b) {
  const std::uint64_t bits = (std::uint64_t{a} << 32 | b) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// Box and Muller (1958). 1 - u is in (0, 1], so the logarithm is finite.
double normal_from(double u, double v) {
  return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
}

template <typename F>
Tensor generate(const Shape& shape, Generator& generator, DType dtype, Device device, F&& value) {
  return visit_floating(dtype, "random", [&]<typename T>(T) {
    Tensor result = Tensor::empty(shape, dtype, device);
    const std::uint64_t stream = generator.next_stream();
    if (device == Device::meta) return result;
    T* elements = result.mutable_data<T>();
    const std::int64_t count = result.count();
#pragma omp parallel for schedule(static) num_threads(num_threads()) if (count > 4096)
    for (std::int64_t i = 0; i < count; ++i) {
      const auto words = philox(generator.seed, stream, static_cast<std::uint64_t>(i));
      elements[i] = static_cast<T>(
          value(uniform_double(words[0], words[1]), uniform_double(words[2], words[3])));
    }
    return result;
  });
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_high,
                                    std::uint64_t counter_low) {
  std::array<std::uint32_t, 4> x{low(counter_low), high(counter_low), low(counter_high),
                                 high(counter_high)};
  std::uint32_t key0 = low(key);
  std::uint32_t key1 = high(key);
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = kMultiplier0 * x[0];
    const std::uint64_t product1 = kMultiplier1 * x[2];
    x = {high(product1) ^ x[1] ^ key0, low(product1), high(product0) ^ x[3] ^ key1, low(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return x;
}

std::uint32_t RandomStream::next() {
  if (position_ % 4 == 0) block_ = philox(seed_, stream_, position_ / 4);
  return block_[position_++ % 4];
}

double RandomStream::uniform() {
  const std::uint32_t first = next();
  return uniform_double(first, next());
}

std::int64_t RandomStream::below(std::int64_t n) {
  if (n <= 0) throw Error("RandomStream::below: n must be positive");
  const auto bound = static_cast<std::uint64_t>(n);
  // Values past the last whole multiple of n would favour small results: draw again.
  const std::uint64_t limit = bound * (~std::uint64_t{0} / bound);
  std::uint64_t value = 0;
  do {
    value = std::uint64_t{next()} << 32;
    value |= next();
  } while (value >= limit);
  return static_cast<std::int64_t>(value % bound);
}

double RandomStream::normal() {
  const double u = uniform();
  return normal_from(u, uniform());
}

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = {seed, 0}; }

Tensor random_uniform(const Shape& shape, double low, double high, Generator& generator,
                      DType dtype, Device device) {
  return generate(shape, generator, dtype, device,
                  [=](double u, double) { return low + (high - low) * u; });
}

Tensor random_normal(const Shape& shape, double mean, double deviation, Generator& generator,
                     DType dtype, Device device) {
  return generate(shape, generator, dtype, device,
                  [=](double u, double v) { return mean + deviation * normal_from(u, v); });
}

}  // namespace attune
