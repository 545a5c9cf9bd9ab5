#include "attune/core/ops/arithmetic.h"

#include <functional>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

struct Operation {
  const char* name;
  Tensor (*apply)(const Tensor&, const Tensor&);
  double (*formula)(double, double);
};

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all{
      {"add", add, [](double a, double b) { return a + b; }},
      {"subtract", subtract, [](double a, double b) { return a - b; }},
      {"multiply", multiply, [](double a, double b) { return a * b; }},
      {"divide", divide, [](double a, double b) { return a / b; }},
  };
  return all;
}

struct Pair {
  Shape a, b, result;
};

const std::vector<Pair>& broadcasts() {
  static const std::vector<Pair> all{
      {{}, {}, {}},
      {{3}, {}, {3}},
      {{}, {2, 3}, {2, 3}},
      {{2, 3}, {2, 3}, {2, 3}},
      {{2, 3}, {3}, {2, 3}},
      {{3, 1}, {1, 4}, {3, 4}},
      {{2, 1, 3, 1}, {4, 1, 2}, {2, 4, 3, 2}},
      {{2, 3, 1, 2, 1, 2}, {1, 3, 2, 1, 3, 1}, {2, 3, 2, 2, 3, 2}},
      {{1, 1}, {1}, {1, 1}},
      {{0, 3}, {3}, {0, 3}},
  };
  return all;
}

TEST_CASE("arithmetic broadcasts by the formula", "[arithmetic]") {
  for (const Operation& op : operations()) {
    for (const Pair& shapes : broadcasts()) {
      INFO(op.name << " " << to_string(shapes.a) << " " << to_string(shapes.b));
      const Tensor a = random_tensor(shapes.a, 1), b = random_tensor(shapes.b, 2, 0.5, 2);
      const Tensor expected =
          build(shapes.result, [&](const Index& i) { return op.formula(at(a, i), at(b, i)); });
      CHECK(error_of(op.apply(a, b), expected) <= 0);
      const Tensor in_float = op.apply(a.to(DType::float32), b.to(DType::float32));
      CHECK(in_float.dtype() == DType::float32);
      CHECK(error_of(in_float, expected) <= 1e-6);
    }
  }
}

TEST_CASE("arithmetic gradients agree with finite differences", "[arithmetic]") {
  for (const Operation& op : operations()) {
    for (const Pair& shapes : broadcasts()) {
      INFO(op.name << " " << to_string(shapes.a) << " " << to_string(shapes.b));
      check_gradient([&](const auto& in) { return op.apply(in[0], in[1]); },
                     {random_tensor(shapes.a, 3), random_tensor(shapes.b, 4, 0.5, 2)});
    }
    // One tensor on both sides, as a leaf and further up.
    check_gradient([&](const auto& in) { return op.apply(in[0], in[0]); },
                   {random_tensor({2, 3}, 5, 0.5, 2)});
    check_gradient(
        [&](const auto& in) {
          const Tensor x = in[0] * 2;
          return op.apply(x, x) * x;
        },
        {random_tensor({2, 3}, 5, 0.5, 2)});
  }
}

TEST_CASE("arithmetic gradients reach one operand alone", "[arithmetic]") {
  const Tensor constant = random_tensor({2, 3}, 6, 0.5, 2);
  for (const Operation& op : operations()) {
    INFO(op.name);
    check_gradient([&](const auto& in) { return op.apply(in[0], constant); },
                   {random_tensor({3}, 7, 0.5, 2)});
    check_gradient([&](const auto& in) { return op.apply(constant, in[0]); },
                   {random_tensor({3}, 7, 0.5, 2)});
  }
}

TEST_CASE("numbers take part in arithmetic on either side", "[arithmetic]") {
  const Tensor x = doubles({1, -2, 4});
  CHECK((x + 1).to_vector<double>() == std::vector<double>{2, -1, 5});
  CHECK((1 + x).to_vector<double>() == std::vector<double>{2, -1, 5});
  CHECK((x - 1).to_vector<double>() == std::vector<double>{0, -3, 3});
  CHECK((1 - x).to_vector<double>() == std::vector<double>{0, 3, -3});
  CHECK((x * 2).to_vector<double>() == std::vector<double>{2, -4, 8});
  CHECK((2 * x).to_vector<double>() == std::vector<double>{2, -4, 8});
  CHECK((x / 2).to_vector<double>() == std::vector<double>{0.5, -1, 2});
  CHECK((2 / x).to_vector<double>() == std::vector<double>{2, -1, 0.5});
  CHECK((-x).to_vector<double>() == std::vector<double>{-1, 2, -4});
  CHECK((x.to(DType::float32) * 2).dtype() == DType::float32);

  check_gradient(
      [](const auto& in) { return 3 / (2 - (1 + in[0] * 0.5)) - (-in[0] / 4 + 2) * 3 - 1; },
      {random_tensor({2, 3}, 8)});
}

TEST_CASE("arithmetic keeps only what a gradient needs", "[arithmetic][memory]") {
  Tensor a = random_tensor({2, 3}, 9), b = random_tensor({3}, 10);
  const Tensor other = random_tensor({3}, 11);
  a.set_requires_grad();
  CHECK(saved_bytes(a + other) == 0);
  CHECK(saved_bytes(a - other) == 0);
  CHECK(saved_bytes(-a) == 0);
  CHECK(saved_bytes(a * other) == other.bytes());
  CHECK(saved_bytes(a / other) == other.bytes());
  CHECK(saved_bytes(other / a) == a.bytes() + other.bytes());
  b.set_requires_grad();
  CHECK(saved_bytes(a * b) == a.bytes() + b.bytes());
  CHECK(saved_bytes(a / b) == a.bytes() + b.bytes());
  CHECK(saved_bytes(a * a) == a.bytes());
}

TEST_CASE("addition hands its gradient on without a copy", "[arithmetic][memory]") {
  Tensor x = random_tensor({64}, 12);
  x.set_requires_grad();
  Tensor a = -x, b = -x;
  const Tensor y = a + b;
  const Tensor seed = random_tensor({64}, 13);
  const MemoryStats before = memory_stats(test_device());
  reset_peak_memory(test_device());
  y.backward(seed);
  // The gradient of x, and one negated gradient at a time: the gradients of a and b are the seed.
  CHECK(memory_stats(test_device()).total.peak - before.total.live <= 2 * x.bytes());
  CHECK(error_of(x.grad(), seed * -2) <= 0);
  CHECK(seed.to_vector<double>() == random_tensor({64}, 13).to_vector<double>());
}

TEST_CASE("arithmetic refuses what does not go together", "[arithmetic][error]") {
  const Tensor a = Tensor::ones({2, 3});
  CHECK(error_message([&] { add(a, Tensor::ones({2})); }) ==
        "add: shapes [2, 3] and [2] do not broadcast");
  CHECK(error_message([&] {
          multiply(a, Tensor::ones({2, 3}, DType::float64));
        }) == "multiply: float32 [2, 3] on cpu and float64 [2, 3] on cpu do not go together");
  CHECK(error_message([&] {
          divide(a, Tensor::ones({2, 3}, DType::float32, Device::meta));
        }) == "divide: float32 [2, 3] on cpu and float32 [2, 3] on meta do not go together");
  CHECK(error_message([&] { subtract(a, Tensor()); }) ==
        "subtract: float32 [2, 3] on cpu and an undefined tensor do not go together");
  const Tensor labels = Tensor::zeros({2}, DType::int64);
  CHECK(error_message([&] { add(labels, labels); }) == "add: needs float32 or float64, not int64");
  CHECK(error_message([&] { negate(labels); }) == "negate: needs float32 or float64, not int64");
  CHECK(error_message([&] { negate(Tensor()); }) == "negate: input is undefined");
  CHECK(error_message([&] { Tensor() + 1; }) == "arithmetic: operand is undefined");
}

}  // namespace
}  // namespace attune
