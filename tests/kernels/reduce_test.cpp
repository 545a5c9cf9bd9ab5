#include "attune/kernels/reduce.h"

#include <array>
#include <limits>

#include "attune/kernels/reference/reduce.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

struct Size {
  std::int64_t outer, middle, inner;
  std::int64_t inputs() const { return outer * middle * inner; }
  std::int64_t outputs() const { return outer * inner; }
};

const std::vector<Size> kSizes{{1, 1, 1},     {1, 70001, 1}, {1, 5003, 17}, {3, 4099, 16},
                               {2, 301, 200}, {128, 10, 1},  {501, 7, 3},   {40, 64, 64},
                               {1, 3, 5000},  {17, 1, 1},    {2, 1, 129},   {3, 0, 4},
                               {0, 5, 4},     {3, 5, 0}};

template <typename T>
void check_sum(Size size) {
  const Vector<T> x = random_values<T>(size.inputs(), 1, 0, 1);
  const Vector<T> before = random_values<T>(size.outputs(), 2);
  for (const bool accumulate : {false, true})
    for (const T scale : {T(1), T(-0.25)}) {
      Vector<T> y = before, expected = before;
      reduce_sum(test_device(), y.data(), x.data(), size.outer, size.middle, size.inner, scale,
                 accumulate);
      reference::reduce_sum(expected.data(), x.data(), size.outer, size.middle, size.inner, scale,
                            accumulate);
      CHECK(relative_error(y, expected) <= kTolerance<T>);
    }
}

template <typename T>
void check_max(Size size) {
  if (size.middle == 0) return;
  Vector<T> x = random_values<T>(size.inputs(), 1);
  for (T& value : x) value = std::round(value * 8);  // with ties
  for (std::size_t i = 5; i < x.size(); i += 97) x[i] = std::numeric_limits<T>::quiet_NaN();
  const auto outputs = static_cast<std::size_t>(size.outputs());
  Vector<T> y(outputs), y_alone(outputs), expected(outputs);
  Vector<std::int64_t> index(outputs), expected_index(outputs);
  reduce_max(test_device(), y.data(), index.data(), x.data(), size.outer, size.middle, size.inner);
  reduce_max<T>(test_device(), y_alone.data(), nullptr, x.data(), size.outer, size.middle,
                size.inner);
  reference::reduce_max(expected.data(), expected_index.data(), x.data(), size.outer, size.middle,
                        size.inner);
  CHECK(same_bits(y, expected));
  CHECK(same_bits(y_alone, expected));
  CHECK(index == expected_index);
}

}  // namespace

TEST_CASE("the reference sums and finds maxima along the middle axis") {
  // x[o, m, i] = 100 o + 10 m + i
  Vector<double> x;
  for (int o = 0; o < 2; ++o)
    for (int m = 0; m < 3; ++m)
      for (int i = 0; i < 2; ++i) x.push_back(100 * o + 10 * m + i);
  Vector<double> y(4, 1000.0);
  reference::reduce_sum(y.data(), x.data(), 2, 3, 2, 2.0, false);
  CHECK(y == Vector<double>{60, 66, 660, 666});
  reference::reduce_sum(y.data(), x.data(), 2, 3, 2, 1.0, true);
  CHECK(y == Vector<double>{90, 99, 990, 999});

  Vector<std::int64_t> index(4);
  x[4] = -1;   // [0, 2, 0]
  x[8] = 100;  // [1, 1, 0]: a tie with [1, 0, 0]
  x[10] = 100;
  reference::reduce_max(y.data(), index.data(), x.data(), 2, 3, 2);
  CHECK(y == Vector<double>{10, 21, 100, 121});
  CHECK(index == Vector<std::int64_t>{1, 2, 0, 2});
}

TEST_CASE("reductions agree with the reference") {
  for (const Size size : kSizes) {
    INFO(size.outer << " x " << size.middle << " x " << size.inner);
    check_sum<float>(size);
    check_sum<double>(size);
    check_max<float>(size);
    check_max<double>(size);
  }
}

TEST_CASE("sums of floats are accumulated in double") {
  // In float, adding 0.1 a million times gives 100958.
  const Vector<float> x(1000000, 0.1F);
  const double exact = 1e6 * static_cast<double>(0.1F);
  Vector<float> sum(1);
  reduce_sum(test_device(), sum.data(), x.data(), 1, 1000000, 1);
  CHECK(std::abs(static_cast<double>(sum[0]) / exact - 1) <= 1e-7);
  const double squares = sum_of_squares(test_device(), x.data(), 1000000);
  CHECK(std::abs(squares / (exact * static_cast<double>(0.1F)) - 1) <= 1e-12);
}

TEST_CASE("the first NaN is the largest element") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Vector<float> x{1, nan, 5, nan};
  Vector<float> y(1);
  Vector<std::int64_t> index(1);
  reduce_max(test_device(), y.data(), index.data(), x.data(), 1, 4, 1);
  CHECK(std::isnan(y[0]));
  CHECK(index[0] == 1);
}

TEST_CASE("sum_of_squares agrees with the reference and with the sum of the first squares") {
  for (const std::int64_t count : {0, 1, 3, 1000, 70001}) {
    const Vector<float> x = random_values<float>(count, 1);
    const double expected = reference::sum_of_squares(x.data(), count);
    CHECK(std::abs(sum_of_squares(test_device(), x.data(), count) - expected) <= 1e-13 * expected);
  }
  Vector<double> x;
  for (int i = 0; i <= 2000; ++i) x.push_back(i);
  CHECK(reference::sum_of_squares(x.data(), 2001) == 2000.0 * 2001 * 4001 / 6);
  CHECK(sum_of_squares(test_device(), x.data(), 2001) == 2000.0 * 2001 * 4001 / 6);
}

TEST_CASE("all_finite finds a single NaN or infinity anywhere") {
  Vector<float> x = random_values<float>(40001, 1);
  x[7] = std::numeric_limits<float>::max();
  x[8] = std::numeric_limits<float>::denorm_min();
  CHECK(all_finite(test_device(), x.data(), 40001));
  CHECK(reference::all_finite(x.data(), 40001));
  CHECK(all_finite(test_device(), x.data(), 0));
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float outlier : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
    for (const std::size_t i : std::array<std::size_t, 4>{0, 7, 20000, 40000}) {
      const float before = x[i];
      x[i] = outlier;
      CHECK(!all_finite(test_device(), x.data(), 40001));
      CHECK(!reference::all_finite(x.data(), 40001));
      x[i] = before;
    }
}

TEST_CASE("reductions do not depend on the number of threads") {
  const Vector<float> x = random_values<float>(1000003, 1);
  CHECK(independent_of_threads(
      [&] { return Vector<double>{sum_of_squares(test_device(), x.data(), 1000003)}; }));
  for (const Size size : {Size{1, 1000003, 1}, Size{1, 50000, 20}, Size{100, 100, 100}}) {
    CHECK(independent_of_threads([&] {
      Vector<float> y(static_cast<std::size_t>(size.outputs()));
      reduce_sum(test_device(), y.data(), x.data(), size.outer, size.middle, size.inner);
      return y;
    }));
  }
}

TEST_CASE("on the meta device reductions return without reading") {
  CHECK(sum_of_squares<float>(Device::meta, nullptr, 10) == 0);
  CHECK(all_finite<float>(Device::meta, nullptr, 10));
  reduce_sum<float>(Device::meta, nullptr, nullptr, 2, 3, 4);
}
