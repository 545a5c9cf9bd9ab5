// Operations that move elements: reshape, permute, slice, concatenate, pad.
#include <numeric>
#include <vector>

#include "attune/core/graph_report.h"
#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/concatenate.h"
#include "attune/core/ops/pad.h"
#include "attune/core/ops/permute.h"
#include "attune/core/ops/reshape.h"
#include "attune/core/ops/slice.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

using Axes = std::vector<std::int64_t>;

// 0, 1, 2, ... as each dtype.
std::vector<Tensor> counting(const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(shape.count()));
  std::iota(values.begin(), values.end(), 0.0);
  std::vector<Tensor> tensors;
  for (const DType dtype : {DType::float32, DType::float64, DType::int64, DType::uint8}) {
    tensors.push_back(Tensor::from(values, shape).to(dtype));
  }
  return tensors;
}

TEST_CASE("reshape keeps the elements, without a copy", "[reshape]") {
  for (const Tensor& x : counting({2, 3, 4})) {
    const Tensor y = reshape(x, {4, 1, 6});
    CHECK(y.shape() == Shape{4, 1, 6});
    CHECK(y.to_vector<double>() == x.to_vector<double>());
    CHECK(y.shared_storage() == x.shared_storage());
  }
  const Tensor x = Tensor::ones({2, 3, 4});
  CHECK(flatten(x).shape() == Shape{2, 12});
  CHECK(flatten(x, 0).shape() == Shape{24});
  CHECK(flatten(x, -2).shape() == Shape{2, 12});
  CHECK(flatten(x, 2).shape() == Shape{2, 3, 4});
  CHECK(reshape(Tensor::ones({1}), {}).rank() == 0);
  check_gradient([](const auto& in) { return reshape(in[0] * 2, {6}) * reshape(in[0], {6}); },
                 {random_tensor({2, 3}, 1)});
  check_gradient([](const auto& in) { return flatten(in[0]) * flatten(in[0]); },
                 {random_tensor({2, 3, 2}, 2)});
}

TEST_CASE("permute moves axes", "[permute]") {
  const std::vector<Axes> orders{{0, 1, 2, 3}, {0, 3, 1, 2}, {3, 2, 1, 0}, {1, -4, -1, 2}};
  for (const Axes& order : orders) {
    for (const Tensor& x : counting({2, 3, 1, 4})) {
      const Tensor y = permute(x, order);
      CHECK(y.dtype() == x.dtype());
      for_each_index(y.shape(), [&](const Index& index) {
        Index source(4);
        for (std::size_t i = 0; i < 4; ++i) source[x.shape().axis_index(order[i])] = index[i];
        REQUIRE(at(y, index) == at(x, source));
      });
    }
    check_gradient([&](const auto& in) { return permute(in[0], order); },
                   {random_tensor({2, 3, 1, 4}, 3)});
    check_gradient(
        [&](const auto& in) {
          const Tensor x = in[0] * 1;
          return permute(x, order) * permute(x * 3, order);
        },
        {random_tensor({2, 3, 1, 4}, 4)});
  }
  CHECK(permute(Tensor::ones({}), {}).item() == 1);
  CHECK(transpose(Tensor::ones({2, 3})).shape() == Shape{3, 2});
  CHECK(permute(Tensor::ones({0, 3}), {1, 0}).shape() == Shape{3, 0});
}

TEST_CASE("slice takes a part along an axis", "[slice]") {
  struct Case {
    std::int64_t axis, begin, end, first, count;
  };
  for (const Case& c :
       {Case{0, 0, 3, 0, 3}, Case{0, 1, 2, 1, 1}, Case{1, 1, 4, 1, 3}, Case{-1, -2, -1, 0, 1},
        Case{2, 0, 2, 0, 2}, Case{1, 2, 2, 2, 0}, Case{1, 4, 4, 4, 0}}) {
    INFO("axis " << c.axis << ": " << c.begin << " to " << c.end);
    for (const Tensor& x : counting({3, 4, 2})) {
      const Tensor y = slice(x, c.axis, c.begin, c.end);
      const std::size_t axis = x.shape().axis_index(c.axis);
      CHECK(y.size(c.axis) == c.count);
      for_each_index(y.shape(), [&](const Index& index) {
        Index source = index;
        source[axis] += c.first;
        REQUIRE(at(y, index) == at(x, source));
      });
    }
    check_gradient([&](const auto& in) { return slice(in[0], c.axis, c.begin, c.end); },
                   {random_tensor({3, 4, 2}, 5)});
  }
  // Overlapping slices of one tensor.
  check_gradient(
      [](const auto& in) {
        const Tensor x = in[0] * 2;
        return slice(x, 0, 0, 3) * slice(x, 0, 1, 4) + slice(x, 0, 0, 1);
      },
      {random_tensor({4, 2}, 6)});
}

TEST_CASE("concatenate joins along an axis", "[concatenate]") {
  for (const std::int64_t axis : {0, 1, 2, -1}) {
    INFO("axis " << axis);
    const auto shape_with = [&](std::int64_t size) {
      Shape shape{2, 3, 2};
      shape.set(axis, size);
      return shape;
    };
    const auto a = counting(shape_with(2)), b = counting(shape_with(1)),
               empty = counting(shape_with(0));
    for (std::size_t dtype = 0; dtype < a.size(); ++dtype) {
      const Tensor y = concatenate({a[dtype], empty[dtype], b[dtype]}, axis);
      CHECK(y.shape() == shape_with(3));
      // What was joined can be taken apart.
      CHECK(slice(y, axis, 0, 2).to_vector<double>() == a[dtype].to_vector<double>());
      CHECK(slice(y, axis, 2, 3).to_vector<double>() == b[dtype].to_vector<double>());
    }
    check_gradient(
        [&](const auto& in) {
          return concatenate({in[0], in[1], in[0]}, axis);
        },
        {random_tensor(shape_with(2), 7), random_tensor(shape_with(1), 8)});
    check_gradient(
        [&](const auto& in) {
          const Tensor x = in[0] * 2;
          return concatenate({x, in[1], x * x}, axis);
        },
        {random_tensor(shape_with(2), 9), random_tensor(shape_with(1), 10)});
  }
  Tensor wanted = random_tensor({2}, 11).set_requires_grad();
  concatenate({random_tensor({3}, 12), wanted}, 0).backward(doubles({1, 2, 3, 4, 5}));
  CHECK(wanted.grad().to_vector<double>() == std::vector<double>{4, 5});
}

TEST_CASE("pad surrounds a tensor", "[pad]") {
  for (const Tensor& x : counting({2, 3})) {
    const Tensor y = pad(x, {{1, 0}, {2, 1}}, 7);
    CHECK(y.dtype() == x.dtype());
    CHECK(y.shape() == Shape{3, 6});
    CHECK(y.to_vector<double>() == std::vector<double>{7, 7, 7, 7, 7, 7,  //
                                                       7, 7, 0, 1, 2, 7,  //
                                                       7, 7, 3, 4, 5, 7});
  }
  CHECK(pad(Tensor::ones({}), {}).item() == 1);
  CHECK(pad(Tensor::ones({2}), {{0, 1}}).to_vector<double>() == std::vector<double>{1, 1, 0});
  check_gradient(
      [](const auto& in) {
        return pad(in[0], {{0, 0}, {1, 2}, {3, 0}}, 5);
      },
      {random_tensor({2, 3, 1}, 13)});
  check_gradient(
      [](const auto& in) {
        const Tensor x = in[0] * 2;
        return pad(x, {{1, 1}}) * pad(x, {{0, 2}});
      },
      {random_tensor({4}, 14)});
}

TEST_CASE("moving elements keeps nothing for backward", "[memory]") {
  const Tensor x = Tensor::ones({2, 3}).set_requires_grad();
  CHECK(saved_bytes(reshape(x, {6})) == 0);
  CHECK(saved_bytes(transpose(x)) == 0);
  CHECK(saved_bytes(slice(x, 0, 0, 1)) == 0);
  CHECK(saved_bytes(concatenate({x, x}, 0)) == 0);
  CHECK(saved_bytes(pad(x, {{1, 1}, {1, 1}})) == 0);
}

TEST_CASE("moving elements refuses what does not fit", "[error]") {
  const Tensor x = Tensor::ones({2, 3});
  CHECK(error_message([&] { reshape(x, {4}); }) ==
        "reshape: float32 [2, 3] on cpu cannot become [4]");
  CHECK(error_message([&] { flatten(x, 2); }) == "flatten: float32 [2, 3] on cpu has no axis 2");
  CHECK(error_message([&] { permute(x, {0}); }) == "permute: 1 axes for float32 [2, 3] on cpu");
  CHECK(error_message([&] {
          permute(x, {1, 1});
        }) == "permute: axes (1, 1) name axis 1 of float32 [2, 3] on cpu twice");
  CHECK(error_message([&] { transpose(Tensor::ones({2})); }) ==
        "transpose: input must have 2 dimensions, but is float32 [2] on cpu");
  CHECK(error_message([&] { slice(x, 1, 1, 4); }) ==
        "slice: [1, 4) does not lie within axis 1 of float32 [2, 3] on cpu");
  CHECK(error_message([&] { slice(x, 1, 2, 1); }) ==
        "slice: [2, 1) does not lie within axis 1 of float32 [2, 3] on cpu");
  CHECK(error_message([&] { slice(x, 1, -4, 1); }) ==
        "slice: [-4, 1) does not lie within axis 1 of float32 [2, 3] on cpu");
  CHECK(error_message([&] { concatenate({}, 0); }) == "concatenate: no tensors given");
  CHECK(error_message([&] {
          concatenate({x, Tensor::ones({2, 4})}, 0);
        }) == "concatenate: [2, 3] and [2, 4] differ in an axis other than 0");
  CHECK(error_message([&] {
          concatenate({x, Tensor::ones({2})}, 0);
        }) == "concatenate: [2, 3] and [2] differ in an axis other than 0");
  CHECK(error_message([&] {
          concatenate({x, Tensor::ones({2, 3}, DType::float64)}, 0);
        }) == "concatenate: float32 [2, 3] on cpu and float64 [2, 3] on cpu do not go together");
  CHECK(error_message([&] { pad(x, {{1, 1}}); }) == "pad: 1 pairs for float32 [2, 3] on cpu");
  CHECK(error_message([&] {
          pad(x, {{1, 1}, {0, -1}});
        }) == "pad: negative padding (0, -1) for axis 1 of float32 [2, 3] on cpu");
}

}  // namespace
}  // namespace attune
