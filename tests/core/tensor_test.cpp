#include "attune/core/tensor.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

// ---- Shape ----

TEST_CASE("a shape knows its extents", "[shape]") {
  const Shape scalar, shape{2, 3, 4};
  CHECK(scalar.rank() == 0);
  CHECK(scalar.count() == 1);
  CHECK(shape.rank() == 3);
  CHECK(shape.count() == 24);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(Shape{5, 0, 3}.count() == 0);
  CHECK(shape == Shape(std::vector<std::int64_t>{2, 3, 4}));
  CHECK(shape != Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{2, 3, 0});
  CHECK(to_string(shape) == "[2, 3, 4]");
  CHECK(to_string(scalar) == "[]");
  Shape grown{2};
  grown.push_back(5);
  grown.set(-2, 7);
  CHECK(grown == Shape{7, 5});
}

TEST_CASE("impossible shapes are refused", "[shape][error]") {
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK(error_message([] { Shape{1, 1, 1, 1, 1, 1, 1}; }) ==
        "shape: rank 7 is more than the 6 supported");
  CHECK(error_message([] { Shape{2, -1}; }) == "shape: negative extent in [2, -1]");
  CHECK(contains(error_message([&] { Shape{huge, huge}; }), "has too many elements"));
  CHECK(error_message([] { Shape({2, 3})[2]; }) == "shape: [2, 3] has no axis 2");
  CHECK(error_message([] { Shape({2, 3})[-3]; }) == "shape: [2, 3] has no axis -3");
  CHECK(error_message([] { Shape()[0]; }) == "shape: [] has no axis 0");
  CHECK(error_message([] {
          Shape full{1, 1, 1, 1, 1, 1};
          full.push_back(1);
        }) == "shape: rank 7 is more than the 6 supported");
  CHECK(error_message([] {
          Tensor::empty({std::numeric_limits<std::int64_t>::max() / 2}, DType::float64);
        }) == "tensor: [4611686018427387903] has too many bytes");
}

TEST_CASE("shapes broadcast by NumPy's rule", "[shape]") {
  const auto broadcast = [](const Shape& a, const Shape& b) {
    CHECK(broadcast_shapes("op", a, b) == broadcast_shapes("op", b, a));
    return broadcast_shapes("op", a, b);
  };
  CHECK(broadcast({}, {}) == Shape{});
  CHECK(broadcast({3}, {}) == Shape{3});
  CHECK(broadcast({2, 3}, {3}) == Shape{2, 3});
  CHECK(broadcast({2, 1}, {1, 3}) == Shape{2, 3});
  CHECK(broadcast({2, 1}, {3}) == Shape{2, 3});
  CHECK(broadcast({1, 1, 1}, {5}) == Shape{1, 1, 5});
  CHECK(broadcast({0}, {1}) == Shape{0});
  CHECK(broadcast({3, 0}, {3, 1}) == Shape{3, 0});
  for (const auto& [a, b] : std::vector<std::pair<Shape, Shape>>{
           {{2}, {3}}, {{2, 3}, {2}}, {{0}, {2}}, {{2, 3, 4}, {2, 2, 4}}}) {
    const std::string expected =
        "op: shapes " + to_string(a) + " and " + to_string(b) + " do not broadcast";
    CHECK(error_message([&, &x = a, &y = b] { broadcast_shapes("op", x, y); }) == expected);
  }
}

// ---- Tensor ----

TEST_CASE("tensors are made from values", "[tensor]") {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(x.dtype() == DType::float32);
  CHECK(x.device() == test_device());
  CHECK(x.rank() == 2);
  CHECK(x.size(-1) == 3);
  CHECK(x.count() == 6);
  CHECK(x.bytes() == 24);
  CHECK(x.to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  CHECK(Tensor::full({2}, 300, DType::int64).to_vector<double>() == std::vector<double>{300, 300});
  CHECK(Tensor::scalar(2.5, DType::float64).item() == 2.5);
  CHECK(Tensor::zeros({0, 3}).to_vector<float>().empty());
  CHECK(as_if_on_cpu(describe(x)) == "float32 [2, 3] on cpu");
  CHECK(describe(Tensor()) == "an undefined tensor");
  CHECK(!Tensor().defined());
}

TEST_CASE("copies of a handle share elements, clones do not", "[tensor]") {
  Tensor x = doubles({1, 2});
  const Tensor handle = x, copy = x.clone(), view = x.view({2, 1});
  x.fill_(7);
  CHECK(handle.to_vector<double>() == std::vector<double>{7, 7});
  CHECK(view.to_vector<double>() == std::vector<double>{7, 7});
  CHECK(view.shape() == Shape{2, 1});
  CHECK(copy.to_vector<double>() == std::vector<double>{1, 2});
}

TEST_CASE("tensors convert between dtypes", "[tensor]") {
  const Tensor x = doubles({0, 1.75, 200});
  CHECK(x.to(DType::int64).to_vector<double>() == std::vector<double>{0, 1, 200});
  CHECK(x.to(DType::uint8).to_vector<double>() == std::vector<double>{0, 1, 200});
  CHECK(x.to(DType::float32).to(DType::float64).to_vector<double>() ==
        std::vector<double>{0, 1.75, 200});
  CHECK(x.to(DType::float64).shared_storage() == x.shared_storage());
  CHECK(x.to(test_device()).shared_storage() == x.shared_storage());
  Tensor target = Tensor::zeros({3});
  target.copy_(x);
  CHECK(target.to_vector<double>() == std::vector<double>{0, 1.75, 200});
}

TEST_CASE("every write access counts as a new version", "[tensor]") {
  Tensor x = doubles({1, 2});
  const auto version = [&] { return x.storage().version(); };
  std::uint64_t before = version();
  const auto grown = [&] { return std::exchange(before, version()) < version(); };
  static_cast<void>(x.data<double>());
  CHECK(!grown());
  x.mutable_data<double>();
  CHECK(grown());
  x.fill_(1);
  CHECK(grown());
  x.copy_(x.clone());
  CHECK(grown());
}

TEST_CASE("memory is counted by purpose", "[tensor][memory]") {
  const auto live = [](MemoryPurpose purpose) { return memory_stats(test_device())[purpose].live; };
  const std::int64_t parameters = live(MemoryPurpose::parameter);
  const std::int64_t activations = live(MemoryPurpose::activation);
  {
    const Tensor w = Tensor::zeros({10}, DType::float32, test_device(), MemoryPurpose::parameter);
    const Tensor copy = w.clone(), x = Tensor::zeros({3}, DType::uint8);
    CHECK(live(MemoryPurpose::parameter) - parameters == 80);
    CHECK(live(MemoryPurpose::activation) - activations == 3);
    x.storage().set_purpose(MemoryPurpose::parameter);
    CHECK(live(MemoryPurpose::parameter) - parameters == 83);
    CHECK(live(MemoryPurpose::activation) - activations == 0);
  }
  CHECK(live(MemoryPurpose::parameter) == parameters);
  CHECK(live(MemoryPurpose::activation) == activations);
}

TEST_CASE("a replaced parameter is marked", "[tensor]") {
  Tensor w = doubles({1});
  const Tensor handle = w.set_requires_grad();
  CHECK(!w.retired());
  w.retire();
  CHECK(handle.retired());
}

TEST_CASE("tensors refuse misuse", "[tensor][error]") {
  Tensor x = Tensor::ones({2, 3});
  CHECK(error_message([&] { x.data<double>(); }) ==
        "tensor: elements of float32 [2, 3] on cpu read as float64");
  CHECK(error_message([&] { x.mutable_data<std::uint8_t>(); }) ==
        "tensor: elements of float32 [2, 3] on cpu read as uint8");
  CHECK(error_message([&] { x.item(); }) == "item: float32 [2, 3] on cpu is not a single element");
  CHECK(error_message([&] { x.view({7}); }) == "view: float32 [2, 3] on cpu cannot become [7]");
  CHECK(error_message([&] { x.copy_(Tensor::ones({3})); }) ==
        "copy_: float32 [3] on cpu into float32 [2, 3] on cpu");
  CHECK(error_message([] {
          Tensor::from(std::vector<float>{1, 2}, {3});
        }) == "tensor: 2 values do not fill shape [3]");
  CHECK(error_message([] { Tensor().clone(); }) ==
        "tensor: undefined (default-constructed) tensor used");
  CHECK(error_message([] { Tensor().item(); }) ==
        "item: an undefined tensor is not a single element");
  CHECK(!error_message([] { Tensor().fill_(1); }).empty());
}

}  // namespace
}  // namespace attune
