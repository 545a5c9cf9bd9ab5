#include "attune/core/random.h"

#include <cmath>
#include <numbers>

#include "attune/core/error.h"
#include "attune/kernels/philox_sequence.h"

namespace attune {
namespace {

using kernels::uniform_from;

// Box and Muller (1958). 1 - u is in (0, 1], so the logarithm is finite.
double normal_from(double u, double v) {
  return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
}

template <typename F>
Tensor generate(const Shape& shape, Generator& generator, DType dtype, Device device, F&& value) {
  return visit_floating(dtype, "random", [&]<typename T>(T) {
    const bool meta = device == Device::meta;
    Tensor result = Tensor::empty(shape, dtype, meta ? device : Device::cpu);
    const std::uint64_t stream = generator.next_stream();
    if (meta) return result;
    T* elements = result.mutable_data<T>();
    const std::int64_t count = result.count();
#pragma omp parallel for schedule(static) num_threads(num_threads()) if (count > 4096)
    for (std::int64_t i = 0; i < count; ++i) {
      const auto words = philox(generator.seed, stream, static_cast<std::uint64_t>(i));
      elements[i] =
          static_cast<T>(value(uniform_from(words[0], words[1]), uniform_from(words[2], words[3])));
    }
    return result.to(device);
  });
}

}  // namespace

std::uint32_t RandomStream::next() {
  if (position_ % 4 == 0) block_ = philox(seed_, stream_, position_ / 4);
  return block_[position_++ % 4];
}

double RandomStream::uniform() { return kernels::next_uniform(*this); }

std::int64_t RandomStream::below(std::int64_t n) {
  if (n <= 0) throw Error("RandomStream::below: n must be positive");
  return kernels::next_below(*this, n);
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
