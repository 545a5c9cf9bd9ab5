#include "attune/core/ops/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

struct Case {
  Shape x;
  Pool2dOptions options;
  std::int64_t p, q;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {{1, 4, 4, 1}, {}, 2, 2},
      {{2, 5, 7, 3}, {}, 2, 3},
      {{2, 6, 5, 3}, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}, 3, 3},
      {{1, 5, 6, 2}, {.window = {3, 2}, .stride = {1, 2}, .padding = {1, 0}}, 5, 3},
      {{1, 3, 4, 2}, {.window = {1, 1}, .stride = {2, 2}}, 2, 2},
      {{1, 5, 5, 2}, {.window = {2, 2}, .stride = {3, 3}, .padding = {1, 1}}, 2, 2},
      {{1, 3, 2, 5}, {.window = {3, 2}}, 1, 1},
  };
  return all;
}

// reduce() of the elements of each window that lie inside x.
template <typename F>
Tensor naive_pool(const Tensor& x, const Case& c, const F& reduce) {
  const auto [window, given, padding] = c.options;
  const std::int64_t stride_h = given[0] ? given[0] : window[0];
  const std::int64_t stride_w = given[1] ? given[1] : window[1];
  std::vector<double> result;
  for_each_index({x.size(0), c.p, c.q, x.size(3)}, [&](const Index& i) {
    std::vector<double> inside;
    for (std::int64_t r = 0; r < c.options.window[0]; ++r) {
      for (std::int64_t s = 0; s < c.options.window[1]; ++s) {
        const std::int64_t h = i[1] * stride_h - c.options.padding[0] + r;
        const std::int64_t w = i[2] * stride_w - c.options.padding[1] + s;
        if (h < 0 || h >= x.size(1) || w < 0 || w >= x.size(2)) continue;
        inside.push_back(at(x, {i[0], h, w, i[3]}));
      }
    }
    result.push_back(reduce(inside));
  });
  return Tensor::from(result, {x.size(0), c.p, c.q, x.size(3)});
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

TEST_CASE("pooling reduces windows", "[pool]") {
  for (const Case& c : cases()) {
    INFO(to_string(c.x) << " to " << c.p << " x " << c.q);
    // Negative values, so that padding with zeros would show.
    const Tensor x = distinct_tensor(c.x, 1) - 10;
    const Tensor maxima =
        naive_pool(x, c, [](const auto& v) { return *std::max_element(v.begin(), v.end()); });
    const auto area = static_cast<double>(c.options.window[0] * c.options.window[1]);
    const Tensor means = naive_pool(x, c, [&](const auto& v) { return total(v) / area; });
    CHECK(error_of(max_pool2d(x, c.options), maxima) <= 0);
    CHECK(error_of(avg_pool2d(x, c.options), means) <= 1e-14);
    const Tensor in_float = x.to(DType::float32);
    CHECK(error_of(max_pool2d(in_float, c.options), maxima) <= 1e-7);
    CHECK(error_of(avg_pool2d(in_float, c.options), means) <= 1e-6);
  }
}

TEST_CASE("global average pooling takes the mean over the pixels", "[pool]") {
  const Tensor x = random_tensor({2, 3, 4, 5}, 2);
  const Tensor expected = build({2, 5}, [&](const Index& i) {
    double sum = 0;
    for (std::int64_t h = 0; h < 3; ++h) {
      for (std::int64_t w = 0; w < 4; ++w) sum += at(x, {i[0], h, w, i[1]});
    }
    return sum / 12;
  });
  CHECK(error_of(global_avg_pool(x), expected) <= 1e-14);
  CHECK(error_of(global_avg_pool(x.to(DType::float32)), expected) <= 1e-6);
  check_gradient([](const auto& in) { return global_avg_pool(in[0]); }, {x});
  check_gradient(
      [](const auto& in) {
        const Tensor y = in[0] * 1;
        return global_avg_pool(y * y) + global_avg_pool(y);
      },
      {x});
}

TEST_CASE("pooling gradients agree with finite differences", "[pool]") {
  for (const Case& c : cases()) {
    INFO(to_string(c.x) << " to " << c.p << " x " << c.q);
    const Tensor x = distinct_tensor(c.x, 3);
    for (const auto& pool : {max_pool2d, avg_pool2d}) {
      check_gradient([&](const auto& in) { return pool(in[0], c.options); }, {x});
      check_gradient(
          [&](const auto& in) {
            const Tensor y = in[0] * 1;
            return pool(y, c.options) * pool(y * 2, c.options);
          },
          {x});
    }
  }
}

TEST_CASE("max pooling sends the gradient to the first of equals", "[pool]") {
  Tensor x = Tensor::ones({1, 2, 2, 1}, DType::float64).set_requires_grad();
  max_pool2d(x, {}).backward(Tensor::ones({1, 1, 1, 1}, DType::float64));
  CHECK(x.grad().to_vector<double>() == std::vector<double>{1, 0, 0, 0});
}

TEST_CASE("max pooling keeps one byte an output", "[pool][memory]") {
  const Tensor x = Tensor::ones({2, 6, 6, 4});
  const MemoryStats before = memory_stats(test_device());
  reset_peak_memory(test_device());
  CHECK(saved_bytes(max_pool2d(x, {})) == 0);
  // Where no gradient is wanted, positions are not even made.
  CHECK(memory_stats(test_device()).total.peak - before.total.live == 2 * 3 * 3 * 4 * 4);
  const Tensor wanted = Tensor::ones({2, 6, 6, 4}).set_requires_grad();
  CHECK(saved_bytes(max_pool2d(wanted, {})) == 2 * 3 * 3 * 4);
  CHECK(saved_bytes(avg_pool2d(wanted, {})) == 0);
  CHECK(saved_bytes(global_avg_pool(wanted)) == 0);
}

TEST_CASE("pooling refuses windows that do not fit", "[pool][error]") {
  const Tensor x = Tensor::ones({1, 4, 4, 2});
  CHECK(error_message([&] {
          max_pool2d(Tensor::ones({4, 4, 2}), {});
        }) == "max_pool2d: input must have 4 dimensions, but is float32 [4, 4, 2] on cpu");
  CHECK(error_message([&] {
          avg_pool2d(x, {.window = {5, 5}});
        }) ==
        "avg_pool2d: a window of 5 with padding 0 does not fit into float32 [1, 4, 4, 2] on cpu");
  CHECK(contains(error_message([&] {
                   max_pool2d(x, {.window = {0, 2}});
                 }),
                 "max_pool2d: window 0, stride 0, padding 0: window and stride must be positive"));
  CHECK(contains(error_message([&] {
                   max_pool2d(x, {.window = {2, 2}, .stride = {-1, 1}});
                 }),
                 "max_pool2d: window 2, stride -1"));
  CHECK(contains(error_message([&] {
                   max_pool2d(x, {.window = {3, 3}, .padding = {2, 2}});
                 }),
                 "padding at most half the window"));
  CHECK(error_message([&] {
          max_pool2d(Tensor::ones({1, 20, 20, 1}), {.window = {16, 16}});
        }) == "max_pool2d: a window of 16 x 16 has more than 255 pixels");
  CHECK(error_message([&] {
          global_avg_pool(Tensor::ones({1, 0, 4, 2}));
        }) == "global_avg_pool: no pixels in float32 [1, 0, 4, 2] on cpu");
  CHECK(error_message([&] {
          max_pool2d(Tensor::ones({1, 4, 4, 2}, DType::int64), {});
        }) == "max_pool2d: needs float32 or float64, not int64");
}

}  // namespace
}  // namespace attune
