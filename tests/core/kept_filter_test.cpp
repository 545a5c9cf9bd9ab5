// What convolutions keep of their filters while gradients are off: results are the same to the last
// bit, a change of anything that they were made of is noticed, and every byte is counted.

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/conv2d.h"
#include "attune/core/ops/conv_bn.h"
#include "attune/kernels/kept_results.h"
#include "tests/core/core_test.h"
#include "tests/set_element.h"

namespace attune {
namespace {

std::int64_t live_workspace() {
  return memory_stats(test::test_device())[MemoryPurpose::workspace].live;
}

Tensor floats(const Shape& shape, std::uint64_t seed, double low = -1) {
  return test::random_tensor(shape, seed, low, 1, DType::float32);
}

// A block whose direct packed filter has as many bytes as the filter itself.
ConvBNTensors block() {
  return {.x = floats({2, 9, 8, 16}, 1),
          .weight = floats({32, 3, 3, 16}, 2),
          .bias = floats({32}, 3),
          .gamma = floats({32}, 4),
          .beta = floats({32}, 5),
          .running_mean = floats({32}, 6),
          .running_var = floats({32}, 7, 0.1)};
}

// Runs under a NoGradGuard with nothing kept before: what must be the result.
Tensor afresh(const std::function<Tensor()>& run) {
  const NoGradGuard no_grad;
  release_idle_memory(test::test_device());
  Tensor result = run();
  release_idle_memory(test::test_device());
  return result;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.to_vector<float>() == b.to_vector<float>();
}

struct Computation {
  const char* name;
  std::function<Tensor(const ConvBNTensors&)> run;
  std::vector<Tensor ConvBNTensors::*> parameters;  // whose change must be noticed
};

std::vector<Computation> computations() {
  using T = ConvBNTensors;
  const ConvBNSettings settings{.convolution = {.conv = {.padding = {1, 1}}}, .relu = true};
  return {{"conv2d",
           [](const T& t) {
             return conv2d(t.x, t.weight, t.bias, {.padding = {1, 1}});
           },
           {&T::weight, &T::bias}},
          {"conv_bn_eval",
           [=](const T& t) { return conv_bn_eval(t, settings); },
           {&T::weight, &T::bias, &T::gamma, &T::beta, &T::running_mean, &T::running_var}},
          {"conv_bn_tune",
           [=](const T& t) { return conv_bn_tune(t, settings); },
           {&T::weight, &T::bias, &T::gamma, &T::beta, &T::running_mean, &T::running_var}}};
}

TEST_CASE("kept filters: results are those of gradients on, and of nothing kept") {
  const DefaultDevice on_cpu(Device::cpu);  // where filters are kept
  for (const Computation& computation : computations()) {
    INFO(computation.name);
    const ConvBNTensors t = block();
    const Tensor recorded = computation.run(t);
    CHECK(live_workspace() == 0);  // nothing is kept while gradients are on
    const Tensor expected = afresh([&] { return computation.run(t); });
    CHECK(same(recorded, expected));
    const NoGradGuard no_grad;
    const Tensor first = computation.run(t);
    const std::int64_t kept = live_workspace();
    CHECK(kept > 0);
    CHECK(same(first, expected));
    CHECK(same(computation.run(t), expected));
    CHECK(live_workspace() == kept);
  }
}

TEST_CASE("kept filters: a change in place of anything they depend on is noticed") {
  for (const Computation& computation : computations()) {
    for (const auto parameter : computation.parameters) {
      const ConvBNTensors t = block();
      const NoGradGuard no_grad;
      const Tensor before = computation.run(t);
      Tensor changed = t.*parameter;
      INFO(computation.name << ", " << describe(changed));
      test::add_to_element(changed, 5, 0.5);
      const Tensor after = computation.run(t);
      CHECK_FALSE(same(after, before));
      CHECK(same(after, afresh([&] { return computation.run(t); })));
    }
  }
}

TEST_CASE("kept filters: another tensor in the same place of memory is another tensor") {
  // The allocator gives a new parameter the address of the one before, time and again.
  for (const Computation& computation : computations()) {
    for (const auto parameter : computation.parameters) {
      ConvBNTensors t = block();
      const NoGradGuard no_grad;
      for (std::uint64_t seed = 20; seed < 23; ++seed) {
        const Shape shape = (t.*parameter).shape();
        INFO(computation.name << ", " << to_string(shape) << ", seed " << seed);
        t.*parameter = {};
        t.*parameter = floats(shape, seed, 0.1);
        const Tensor z = computation.run(t);
        CHECK(same(z, computation.run(t)));
        const std::vector<float> kept = z.to_vector<float>();
        ConvBNTensors copies = t;
        copies.weight = t.weight.clone();
        CHECK(kept == computation.run(copies).to_vector<float>());
      }
    }
  }
}

TEST_CASE("kept filters: one filter in turn in several geometries, and in several modes") {
  ConvBNTensors t = block();
  const std::vector<Tensor> inputs{t.x, floats({1, 6, 12, 16}, 9)};
  const auto run_all = [&] {
    std::vector<Tensor> results;
    for (const Tensor& x : inputs) {
      t.x = x;
      for (const Computation& computation : computations()) results.push_back(computation.run(t));
      results.push_back(conv2d(x, t.weight, {}, {.stride = {2, 1}, .dilation = {1, 2}}));
      results.push_back(
          conv_transpose2d(floats({1, 4, 5, 32}, 8), t.weight, {}, {.stride = {2, 2}}));
    }
    return results;
  };
  const std::vector<Tensor> expected = run_all();
  const NoGradGuard no_grad;
  for (int round = 0; round < 2; ++round) {
    const std::vector<Tensor> results = run_all();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("round " << round << ", result " << i);
      CHECK(same(results[i], expected[i]));
    }
  }
}

TEST_CASE("kept filters: their bytes are workspace until the filter changes or goes") {
  const DefaultDevice on_cpu(Device::cpu);  // where filters are kept
  const std::int64_t none = live_workspace();
  ConvBNTensors t = block();
  const std::int64_t filter = t.weight.bytes(), vector = t.bias.bytes();
  const auto infer = [&] {
    const NoGradGuard no_grad;
    conv2d(t.x, t.weight, {}, {.stride = {2, 2}});
    return live_workspace() - none;
  };
  CHECK(infer() == filter);
  CHECK(infer() == filter);

  SECTION("changed") {
    t.weight.fill_(1);
    CHECK(live_workspace() == none);
  }
  SECTION("gone") {
    Tensor other_handle = t.weight;
    t.weight = {};
    CHECK(live_workspace() == none + filter);
    other_handle = {};
    CHECK(live_workspace() == none);
  }
  SECTION("released on request") {
    release_idle_memory(test::test_device());
    CHECK(live_workspace() == none);
    CHECK(infer() == filter);
  }
  SECTION("used for something else, which takes its place") {
    const NoGradGuard no_grad;
    conv_bn_tune(t, {.convolution = {.conv = {.stride = {2, 2}}}});
    CHECK(live_workspace() == none + 2 * filter + vector);  // the fold, and its filter prepared
    t.weight = {};
    CHECK(live_workspace() == none);
  }
}

TEST_CASE("kept filters: nothing is kept on meta") {
  ConvBNTensors t = block();
  for (Tensor ConvBNTensors::*part :
       {&ConvBNTensors::x, &ConvBNTensors::weight, &ConvBNTensors::bias, &ConvBNTensors::gamma,
        &ConvBNTensors::beta, &ConvBNTensors::running_mean, &ConvBNTensors::running_var}) {
    t.*part = (t.*part).to(Device::meta);
  }
  const std::int64_t before = memory_stats(Device::meta).total.live;
  const NoGradGuard no_grad;
  for (const Computation& computation : computations()) computation.run(t);
  CHECK(memory_stats(Device::meta).total.live == before);
}

TEST_CASE("kept filters: several threads use one set of weights") {
  const DefaultDevice on_cpu(Device::cpu);  // where filters are kept
  const ConvBNTensors t = block();
  for (const Computation& computation : computations()) {
    INFO(computation.name);
    const std::vector<float> expected =
        afresh([&] { return computation.run(t); }).to_vector<float>();
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (int& count : wrong) {
      threads.emplace_back([&] {
        const NoGradGuard no_grad;
        for (int i = 0; i < 50; ++i) {
          if (i % 10 == 9) release_idle_memory(test::test_device());
          count += computation.run(t).to_vector<float>() != expected;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
  }
}

}  // namespace
}  // namespace attune
