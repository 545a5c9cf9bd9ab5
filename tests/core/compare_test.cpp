#include "attune/core/ops/compare.h"

#include <cmath>
#include <vector>

#include "attune/core/ops/reduce.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

using Truth = std::vector<std::uint8_t>;

TEST_CASE("comparisons give ones and zeros", "[compare]") {
  const double nan = std::nan("");
  const Tensor a = doubles({1, 2, 3, nan, nan}), b = doubles({2, 2, 2, 2, nan});
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor x = a.to(dtype), y = b.to(dtype);
    CHECK(equal(x, y).to_vector<std::uint8_t>() == Truth{0, 1, 0, 0, 0});
    CHECK(not_equal(x, y).to_vector<std::uint8_t>() == Truth{1, 0, 1, 1, 1});
    CHECK(less(x, y).to_vector<std::uint8_t>() == Truth{1, 0, 0, 0, 0});
    CHECK(less_equal(x, y).to_vector<std::uint8_t>() == Truth{1, 1, 0, 0, 0});
    CHECK(greater(x, y).to_vector<std::uint8_t>() == Truth{0, 0, 1, 0, 0});
    CHECK(greater_equal(x, y).to_vector<std::uint8_t>() == Truth{0, 1, 1, 0, 0});
  }
  CHECK(equal(a, b).dtype() == DType::uint8);
}

TEST_CASE("comparisons broadcast, for every dtype", "[compare]") {
  const std::vector<std::int64_t> large{1, std::int64_t{1} << 60, (std::int64_t{1} << 60) + 1};
  const Tensor column = Tensor::from(large, {3, 1}), row = Tensor::from(large, {3});
  CHECK(equal(column, row).to_vector<std::uint8_t>() == Truth{1, 0, 0, 0, 1, 0, 0, 0, 1});
  CHECK(greater(row, column).shape() == Shape{3, 3});
  const Tensor pixels = Tensor::from(Truth{0, 255}, {2});
  CHECK(less(pixels, Tensor::from(Truth{7}, {})).to_vector<std::uint8_t>() == Truth{1, 0});
}

TEST_CASE("comparisons have no gradient", "[compare]") {
  Tensor x = doubles({1, 2});
  x.set_requires_grad();
  CHECK(!greater(x, doubles({0, 3})).requires_grad());
}

TEST_CASE("comparisons refuse what does not go together", "[compare][error]") {
  CHECK(error_message([] { equal(Tensor::ones({2}), Tensor::ones({2}, DType::int64)); }) ==
        "equal: float32 [2] on cpu and int64 [2] on cpu do not go together");
  CHECK(error_message([] { less(Tensor::ones({2}), Tensor::ones({3})); }) ==
        "less: shapes [2] and [3] do not broadcast");
}

}  // namespace
}  // namespace attune
