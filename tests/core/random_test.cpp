#include "attune/core/random.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "attune/core/device.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

using Words = std::array<std::uint32_t, 4>;

TEST_CASE("Philox gives the published words", "[random]") {
  // philox4x32-10 in kat_vectors of Random123, the authors' own library.
  const std::uint64_t ones = ~std::uint64_t{0};
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(ones, ones, ones) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Digits of pi: counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0.
  CHECK(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a random stream walks through Philox blocks", "[random]") {
  RandomStream stream(5, 9);
  for (std::uint64_t block = 0; block < 3; ++block) {
    for (const std::uint32_t word : philox(5, 9, block)) CHECK(stream.next() == word);
  }
}

TEST_CASE("random streams are reproducible and independent", "[random]") {
  const auto first_words = [](std::uint64_t seed, std::uint64_t stream) {
    RandomStream random(seed, stream);
    std::vector<std::uint32_t> words;
    for (int i = 0; i < 8; ++i) words.push_back(random.next());
    return words;
  };
  CHECK(first_words(1, 2) == first_words(1, 2));
  CHECK(first_words(1, 2) != first_words(1, 3));
  CHECK(first_words(1, 2) != first_words(2, 2));
}

// Mean and standard deviation.
std::array<double, 2> moments(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / static_cast<double>(values.size()))};
}

TEST_CASE("random numbers have the right moments", "[random]") {
  const std::int64_t count = 200'000;
  const double error = 5 / std::sqrt(static_cast<double>(count));  // five standard errors
  RandomStream stream(11);
  std::vector<double> uniform, normal, die;
  std::array<std::int64_t, 6> faces{};
  for (std::int64_t i = 0; i < count; ++i) {
    uniform.push_back(stream.uniform());
    normal.push_back(stream.normal());
    const std::int64_t face = stream.below(6);
    REQUIRE((face >= 0 && face < 6));
    ++faces[static_cast<std::size_t>(face)];
    REQUIRE((uniform.back() >= 0 && uniform.back() < 1));
  }
  CHECK(std::abs(moments(uniform)[0] - 0.5) <= error * std::sqrt(1 / 12.0));
  CHECK(std::abs(moments(uniform)[1] - std::sqrt(1 / 12.0)) <= error);
  CHECK(std::abs(moments(normal)[0]) <= error);
  CHECK(std::abs(moments(normal)[1] - 1) <= error);
  for (const std::int64_t times : faces) {
    const double share = static_cast<double>(times) / static_cast<double>(count);
    CHECK(std::abs(share - 1 / 6.0) <= error * std::sqrt(5.0) / 6);
  }
  // 68.27 % of normal values lie within one standard deviation.
  double within = 0;
  for (const double value : normal) within += std::abs(value) < 1;
  CHECK(std::abs(within / static_cast<double>(count) - 0.6827) <= error);
}

TEST_CASE("random tensors have the right moments", "[random]") {
  Generator generator{3, 0};
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor uniform = random_uniform({400, 500}, -1, 3, generator, dtype);
    const Tensor normal = random_normal({400, 500}, 2, 0.5, generator, dtype);
    CHECK(uniform.dtype() == dtype);
    const auto [uniform_mean, uniform_deviation] = moments(uniform.to_vector<double>());
    CHECK(std::abs(uniform_mean - 1) <= 0.015);
    CHECK(std::abs(uniform_deviation - 4 / std::sqrt(12.0)) <= 0.015);
    const auto [normal_mean, normal_deviation] = moments(normal.to_vector<double>());
    CHECK(std::abs(normal_mean - 2) <= 0.006);
    CHECK(std::abs(normal_deviation - 0.5) <= 0.006);
    for (const double value : uniform.to_vector<double>()) REQUIRE((value >= -1 && value <= 3));
  }
  CHECK(generator.uses == 4);
}

TEST_CASE("random tensors do not depend on the number of threads", "[random]") {
  const int threads = num_threads();
  std::vector<std::vector<float>> drawn;
  for (const int count : {1, 2, 5}) {
    set_num_threads(count);
    Generator generator{8, 0};
    drawn.push_back(random_normal({20'001}, 0, 1, generator).to_vector<float>());
  }
  set_num_threads(threads);
  CHECK(drawn[0] == drawn[1]);
  CHECK(drawn[0] == drawn[2]);
}

TEST_CASE("an element is a function of seed, stream and position", "[random]") {
  Generator generator{8, 4}, same{8, 4};
  const auto longer = random_uniform({100}, 0, 1, generator).to_vector<float>();
  const auto shorter = random_uniform({10}, 0, 1, same).to_vector<float>();
  CHECK(std::vector<float>(longer.begin(), longer.begin() + 10) == shorter);
  CHECK(random_uniform({10}, 0, 1, same).to_vector<float>() != shorter);
}

TEST_CASE("manual_seed restarts the default generator", "[random]") {
  manual_seed(42);
  const auto first = random_normal({10}, 0, 1, default_generator()).to_vector<float>();
  const auto second = random_normal({10}, 0, 1, default_generator()).to_vector<float>();
  CHECK(first != second);
  manual_seed(42);
  CHECK(random_normal({10}, 0, 1, default_generator()).to_vector<float>() == first);
  manual_seed(43);
  CHECK(random_normal({10}, 0, 1, default_generator()).to_vector<float>() != first);
}

TEST_CASE("random numbers on meta use up a stream and hold nothing", "[random][meta]") {
  Generator generator{1, 0};
  const Tensor x = random_normal({4}, 0, 1, generator, DType::float32, Device::meta);
  CHECK(x.device() == Device::meta);
  CHECK(generator.uses == 1);
}

TEST_CASE("random numbers refuse what they cannot draw", "[random][error]") {
  RandomStream stream(1);
  CHECK(error_message([&] { stream.below(0); }) == "RandomStream::below: n must be positive");
  Generator generator{1, 0};
  CHECK(error_message([&] { random_uniform({2}, 0, 1, generator, DType::int64); }) ==
        "random: needs float32 or float64, not int64");
  CHECK(!error_message([&] {
           random_uniform({2}, 0, 1, generator, DType::int64, Device::meta);
         }).empty());
}

}  // namespace
}  // namespace attune
