#include "attune/layers/init.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "attune/core/device.h"
#include "attune/core/memory_stats.h"
#include "attune/layers/construct_on.h"
#include "attune/layers/conv2d.h"
#include "attune/layers/linear.h"
#include "attune/layers/models/resnet.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

struct Statistics {
  double mean, variance, largest;
};

Statistics statistics(const Tensor& tensor) {
  double sum = 0, squares = 0, largest = 0;
  for (const double value : tensor.to_vector<double>()) {
    sum += value;
    squares += value * value;
    largest = std::max(largest, std::abs(value));
  }
  const auto n = static_cast<double>(tensor.count());
  return {sum / n, squares / n - sum * sum / (n * n), largest};
}

const Shape kFilter{64, 3, 3, 48};  // fan in 432, fan out 576; 27648 elements

Statistics statistics_of(const std::function<void(Tensor&, Generator&)>& fill) {
  Generator generator{5, 0};
  Tensor weight = Tensor::empty(kFilter, DType::float64);
  fill(weight, generator);
  return statistics(weight);
}

// Within about five standard deviations of the estimate for 27648 normal or uniform numbers.
void check(const Statistics& found, double variance, double bound) {
  CHECK(std::abs(found.variance / variance - 1) < 0.045);
  CHECK(std::abs(found.mean) < 0.03 * std::sqrt(variance));
  CHECK(found.largest <= bound);
  if (std::isfinite(bound)) CHECK(found.largest > 0.995 * bound);
}

std::shared_ptr<ResNet> small_network(Generator& generator = default_generator()) {
  return std::make_shared<ResNet>(
      ResNetOptions{.depths = {1, 1}, .width = 24, .stem = ResNetStem::cifar, .classes = 4},
      generator);
}

const double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("fans count what a weight's extents mean", "[init]") {
  CHECK(init::fans(kFilter).in == 3 * 3 * 48);
  CHECK(init::fans(kFilter).out == 3 * 3 * 64);
  CHECK(init::fans({10, 7}).in == 7);
  CHECK(init::fans({10, 7}).out == 10);
  REQUIRE_THROWS_AS(init::fans({10}), Error);
  REQUIRE_THROWS_AS(init::fans({0, 7}), Error);
}

TEST_CASE("initialisers have the variances of their papers", "[init]") {
  using init::Fan;
  check(statistics_of([](auto& w, auto& g) { init::kaiming_normal(w, g); }), 2.0 / 576, kInfinity);
  check(statistics_of([](auto& w, auto& g) { init::kaiming_normal(w, g, Fan::in); }), 2.0 / 432,
        kInfinity);
  check(statistics_of([](auto& w, auto& g) { init::kaiming_uniform(w, g, Fan::in); }), 2.0 / 432,
        std::sqrt(6.0 / 432));
  check(statistics_of([](auto& w, auto& g) { init::kaiming_uniform(w, g, Fan::out, 1); }),
        1.0 / 576, std::sqrt(3.0 / 576));
  check(statistics_of([](auto& w, auto& g) { init::xavier_normal(w, g); }), 2.0 / (432 + 576),
        kInfinity);
  check(statistics_of([](auto& w, auto& g) { init::xavier_uniform(w, g, 2); }),
        4 * 2.0 / (432 + 576), 2 * std::sqrt(6.0 / (432 + 576)));
  check(statistics_of([](auto& w, auto& g) { init::lecun_uniform(w, g); }), 1.0 / 3 / 432,
        1 / std::sqrt(432));
}

TEST_CASE("constants fill, and a leaf that wants gradients is no obstacle", "[init]") {
  Tensor weight = Tensor::empty({2, 3});
  weight.set_requires_grad();
  init::ones(weight);
  CHECK(weight.to_vector<float>() == std::vector<float>(6, 1));
  init::zeros(weight);
  CHECK(weight.to_vector<float>() == std::vector<float>(6, 0));
  Generator generator;
  init::kaiming_normal(weight, generator);
  CHECK(weight.requires_grad());
}

TEST_CASE("layers begin as PyTorch's do", "[init]") {
  Generator generator{6, 0};
  const Conv2d conv({.in_channels = 32, .out_channels = 64, .groups = 2}, generator);
  const double bound = 1 / std::sqrt(9.0 * 16);
  check(statistics(conv.weight()), bound * bound / 3, bound * (1 + 1e-6));
  CHECK(statistics(conv.bias()).largest <= bound * (1 + 1e-6));
  CHECK(statistics(conv.bias()).largest > 0.8 * bound);

  const Linear linear({.in_features = 100, .out_features = 300}, generator);
  check(statistics(linear.weight()), 0.01 / 3, 0.1 * (1 + 1e-6));
  CHECK(statistics(linear.bias()).largest <= 0.1 * (1 + 1e-6));
  CHECK(statistics(linear.bias()).largest > 0.09);

  // PyTorch counts the last extent of [in, 3, 3, out / groups] here too.
  const ConvTranspose2d transposed({.in_channels = 64, .out_channels = 32}, generator);
  const double transposed_bound = 1 / std::sqrt(9.0 * 32);
  check(statistics(transposed.weight()), transposed_bound * transposed_bound / 3,
        transposed_bound * (1 + 1e-6));
}

TEST_CASE("a seed means the same network on any number of threads", "[init]") {
  const auto network = [](std::uint64_t seed) {
    Generator generator{seed, 0};
    return all_values(small_network(generator)->state_dict());
  };
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = network(3);
  set_num_threads(4);
  const auto four = network(3);
  set_num_threads(threads);
  CHECK(one == four);
  CHECK(one != network(4));

  manual_seed(11);
  const auto first = all_values(small_network()->state_dict());
  CHECK(all_values(small_network()->state_dict()) != first);
  manual_seed(11);
  CHECK(all_values(small_network()->state_dict()) == first);
}

TEST_CASE("a network built on meta takes no memory and no arithmetic", "[init]") {
  Generator generator{1, 0};
  Generator skipped{1, 0};
  const auto real = small_network(generator);
  const std::int64_t on_cpu = memory_stats(test_device()).total.live;
  const std::int64_t on_meta = memory_stats(Device::meta).total.live;
  std::shared_ptr<ResNet> network;
  {
    const ConstructOn scope(Device::meta);
    CHECK(ConstructOn::device() == Device::meta);
    network = small_network(skipped);
    {
      const ConstructOn inner(test_device());
      CHECK(ConstructOn::device() == test_device());
    }
    CHECK(ConstructOn::device() == Device::meta);
  }
  CHECK(!ConstructOn::device());
  CHECK(memory_stats(test_device()).total.live == on_cpu);
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : real->state_dict()) bytes += tensor.bytes();
  CHECK(memory_stats(Device::meta)[MemoryPurpose::parameter].live == bytes);
  CHECK(memory_stats(Device::meta).total.live - on_meta == bytes);
  CHECK(names(network->named_parameters()) == names(real->named_parameters()));
  for (const Tensor& parameter : network->parameters()) {
    CHECK(parameter.device() == Device::meta);
    CHECK(parameter.requires_grad());
  }
  CHECK(skipped.uses == generator.uses);
}
