#include "attune/kernels/elementwise.h"

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "attune/kernels/reference/elementwise.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

const std::vector<UnaryOp> kUnaryOps{
    UnaryOp::negate, UnaryOp::exp,     UnaryOp::log,  UnaryOp::sqrt, UnaryOp::abs,
    UnaryOp::relu,   UnaryOp::sigmoid, UnaryOp::tanh, UnaryOp::sign, UnaryOp::reciprocal};
const std::vector<BinaryOp> kBinaryOps{BinaryOp::add, BinaryOp::subtract, BinaryOp::multiply,
                                       BinaryOp::divide};
const std::vector<CompareOp> kCompareOps{CompareOp::equal,   CompareOp::not_equal,
                                         CompareOp::less,    CompareOp::less_equal,
                                         CompareOp::greater, CompareOp::greater_equal};
// None, one, less than a vector, and more than one thread's share.
const std::vector<std::int64_t> kCounts{0, 1, 5, 64, 40003};

StridedShape make_shape(const std::vector<std::int64_t>& size,
                        const std::vector<std::int64_t>& stride_a,
                        const std::vector<std::int64_t>& stride_b = {}) {
  StridedShape shape;
  shape.rank = static_cast<int>(size.size());
  for (std::size_t d = 0; d < size.size(); ++d) {
    shape.size[d] = size[d];
    shape.stride_a[d] = stride_a[d];
    if (!stride_b.empty()) shape.stride_b[d] = stride_b[d];
  }
  return shape;
}

// Row-major strides of `size`; 0 where `broadcast` says so, as if the operand had size 1 there.
std::vector<std::int64_t> strides_of(const std::vector<std::int64_t>& size,
                                     const std::vector<bool>& broadcast) {
  std::vector<std::int64_t> stride(size.size());
  std::int64_t step = 1;
  for (std::size_t d = size.size(); d-- > 0;) {
    stride[d] = broadcast[d] ? 0 : step;
    if (!broadcast[d]) step *= size[d];
  }
  return stride;
}

// A random shape of rank 0 to 6, both operands broadcast in random dimensions.
StridedShape random_shape(Random& random) {
  const auto rank = static_cast<std::size_t>(random.integer(0, kMaxRank));
  std::vector<std::int64_t> size(rank);
  std::vector<bool> broadcast_a(rank), broadcast_b(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    size[d] = random.integer(1, 5);
    broadcast_a[d] = random.integer(0, 3) == 0;
    broadcast_b[d] = random.integer(0, 3) == 0;
  }
  return make_shape(size, strides_of(size, broadcast_a), strides_of(size, broadcast_b));
}

// The same shape with dimensions in another order: the operands are read permuted.
void permute(StridedShape& shape, Random& random) {
  for (int d = shape.rank - 1; d > 0; --d) {
    const auto i = static_cast<std::size_t>(d);
    const auto j = static_cast<std::size_t>(random.integer(0, d));
    std::swap(shape.size[i], shape.size[j]);
    std::swap(shape.stride_a[i], shape.stride_a[j]);
    std::swap(shape.stride_b[i], shape.stride_b[j]);
  }
}

template <typename T>
void check_unary() {
  for (const std::int64_t count : kCounts)
    for (const UnaryOp op : kUnaryOps) {
      INFO("op " << static_cast<int>(op) << ", count " << count);
      const bool positive = op == UnaryOp::log || op == UnaryOp::sqrt || op == UnaryOp::reciprocal;
      const Vector<T> x = random_values<T>(count, 1, positive ? 0.1 : -3, 3);
      Vector<T> y(x.size()), expected(x.size()), in_place = x;
      unary(test_device(), op, y.data(), x.data(), count);
      reference::unary(op, expected.data(), x.data(), count);
      CHECK(relative_error(y, expected) <= kTolerance<T>);
      unary(test_device(), op, in_place.data(), in_place.data(), count);
      CHECK(same_bits(in_place, y));
    }
}

template <typename T>
void check_power() {
  for (const T exponent : {T(-1), T(0), T(0.5), T(1), T(2), T(3)}) {
    const Vector<T> x = random_values<T>(1000, 1, 0.1, 3);
    Vector<T> y(x.size()), expected(x.size());
    power(test_device(), y.data(), x.data(), exponent, 1000);
    reference::power(expected.data(), x.data(), exponent, 1000);
    CHECK(relative_error(y, expected) <= kTolerance<T>);
  }
}

template <typename T>
void check_binary(const StridedShape& shape) {
  const Vector<T> a = random_values<T>(shape.count(), 1), b = random_values<T>(shape.count(), 2);
  Vector<T> y(a.size()), expected(a.size());
  for (const BinaryOp op : kBinaryOps) {
    binary(test_device(), op, y.data(), a.data(), b.data(), shape);
    reference::binary(op, expected.data(), a.data(), b.data(), shape);
    CHECK(same_bits(y, expected));
  }
}

template <typename T>
void check_compare(const StridedShape& shape) {
  // Few distinct values, so that many are equal.
  Vector<T> a, b;
  for (const double v : random_values<double>(shape.count(), 1, 0, 4))
    a.push_back(static_cast<T>(std::floor(v)));
  for (const double v : random_values<double>(shape.count(), 2, 0, 4))
    b.push_back(static_cast<T>(std::floor(v)));
  Vector<std::uint8_t> y(a.size()), expected(a.size());
  for (const CompareOp op : kCompareOps) {
    compare(test_device(), op, y.data(), a.data(), b.data(), shape);
    reference::compare(op, expected.data(), a.data(), b.data(), shape);
    CHECK(y == expected);
  }
}

template <typename T>
void check_copy_and_scatter() {
  Random random(3);
  for (int round = 0; round < 40; ++round) {
    StridedShape shape = random_shape(random);
    for (std::size_t d = 0; d < kMaxRank; ++d) shape.stride_b[d] = 0;
    permute(shape, random);
    Vector<T> x(static_cast<std::size_t>(shape.count()));
    std::iota(x.begin(), x.end(), T(1));
    Vector<T> y(x.size()), expected(x.size());
    copy_strided(test_device(), y.data(), x.data(), shape);
    reference::copy_strided(expected.data(), x.data(), shape);
    CHECK(y == expected);

    // Without repeated elements, scattering what was gathered restores it.
    for (int d = 0; d < shape.rank; ++d) {
      const auto i = static_cast<std::size_t>(d);
      if (shape.stride_a[i] == 0) shape.size[i] = 1;
    }
    const auto count = static_cast<std::size_t>(shape.count());
    Vector<T> gathered(count), restored(count), expected_twice(count);
    copy_strided(test_device(), gathered.data(), x.data(), shape);
    scatter_strided(test_device(), restored.data(), gathered.data(), shape, false);
    CHECK(restored == Vector<T>(x.begin(), x.begin() + shape.count()));
    scatter_strided(test_device(), restored.data(), gathered.data(), shape, true);
    reference::scatter_strided(expected_twice.data(), gathered.data(), shape, false);
    reference::scatter_strided(expected_twice.data(), gathered.data(), shape, true);
    CHECK(restored == expected_twice);
  }
}

template <typename T>
void check_fill() {
  Vector<T> y(40003, T(1));
  fill(test_device(), y.data() + 1, T(7), 40001);
  CHECK(y.front() == T(1));
  CHECK(y.back() == T(1));
  CHECK(std::all_of(y.begin() + 1, y.end() - 1, [](T v) { return v == T(7); }));
}

template <typename T>
void check_updates() {
  for (const std::int64_t count : kCounts) {
    const Vector<T> x = random_values<T>(count, 1), dy = random_values<T>(count, 2);
    Vector<T> relu_output = x;
    for (T& value : relu_output) value = std::max(value, T(0));
    Vector<T> y = dy, expected = dy;
    axpy(test_device(), y.data(), T(0.3), x.data(), count);
    reference::axpy(expected.data(), T(0.3), x.data(), count);
    CHECK(relative_error(y, expected) <= kTolerance<T>);
    scale(test_device(), y.data(), T(-1.7), count);
    reference::scale(expected.data(), T(-1.7), count);
    CHECK(relative_error(y, expected) <= kTolerance<T>);
    clamp(test_device(), y.data(), x.data(), T(-0.25), T(0.5), count);
    reference::clamp(expected.data(), x.data(), T(-0.25), T(0.5), count);
    CHECK(y == expected);
    for (const bool accumulate : {false, true}) {
      y = expected = x;
      relu_backward(test_device(), y.data(), dy.data(), relu_output.data(), count, accumulate);
      reference::relu_backward(expected.data(), dy.data(), relu_output.data(), count, accumulate);
      CHECK(y == expected);
      Vector<T> in_place = dy;
      expected = dy;
      relu_backward(test_device(), in_place.data(), in_place.data(), relu_output.data(), count,
                    accumulate);
      reference::relu_backward(expected.data(), expected.data(), relu_output.data(), count,
                               accumulate);
      CHECK(in_place == expected);
      clamp_backward(test_device(), in_place.data(), dy.data(), x.data(), T(-0.25), T(0.5), count,
                     accumulate);
      reference::clamp_backward(expected.data(), dy.data(), x.data(), T(-0.25), T(0.5), count,
                                accumulate);
      CHECK(in_place == expected);
    }
  }
}

}  // namespace

TEST_CASE("reference unary operations give textbook values") {
  struct Known {
    UnaryOp op;
    double x, y;
  };
  const std::vector<Known> table{{UnaryOp::negate, 2, -2},
                                 {UnaryOp::exp, 1, 2.718281828459045},
                                 {UnaryOp::log, 10, 2.302585092994046},
                                 {UnaryOp::sqrt, 2, 1.4142135623730951},
                                 {UnaryOp::abs, -3, 3},
                                 {UnaryOp::relu, -3, 0},
                                 {UnaryOp::relu, 3, 3},
                                 {UnaryOp::sigmoid, 0, 0.5},
                                 {UnaryOp::sigmoid, 1, 0.7310585786300049},
                                 {UnaryOp::tanh, 1, 0.7615941559557649},
                                 {UnaryOp::sign, -0.1, -1},
                                 {UnaryOp::sign, 0, 0},
                                 {UnaryOp::sign, 4, 1},
                                 {UnaryOp::reciprocal, -4, -0.25}};
  for (const Known& known : table) {
    double y = 0;
    reference::unary(known.op, &y, &known.x, 1);
    INFO("op " << static_cast<int>(known.op) << " of " << known.x << ": " << y);
    CHECK(std::abs(y - known.y) <= 1e-15 * std::abs(known.y));
  }
}

TEST_CASE("unary operations agree with the reference") {
  check_unary<float>();
  check_unary<double>();
  check_power<float>();
  check_power<double>();
}

TEST_CASE("unary operations pass NaN on and survive extreme arguments") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const UnaryOp op : kUnaryOps) {
    INFO("op " << static_cast<int>(op));
    // As many as make a vector, so that vector code is tested, and one more.
    const Vector<float> x(9, nan);
    Vector<float> y(9), expected(9);
    unary(test_device(), op, y.data(), x.data(), 9);
    reference::unary(op, expected.data(), x.data(), 9);
    for (std::size_t i = 0; i < 9; ++i) CHECK((std::isnan(y[i]) && std::isnan(expected[i])));
  }
  const Vector<float> x{-1000, 1000};
  Vector<float> y(2);
  unary(test_device(), UnaryOp::sigmoid, y.data(), x.data(), 2);
  CHECK(y == Vector<float>{0, 1});
}

TEST_CASE("the reference broadcasts a [2, 1, 4] with b [3, 1] over [2, 3, 4]") {
  const Vector<double> a{1, 2, 3, 4, 5, 6, 7, 8}, b{10, 20, 30};
  Vector<double> y(24), expected;
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 4; ++k) expected.push_back(a[i * 4 + k] - b[j]);
  const StridedShape shape = make_shape({2, 3, 4}, {4, 0, 1}, {0, 1, 0});
  reference::binary(BinaryOp::subtract, y.data(), a.data(), b.data(), shape);
  CHECK(y == expected);
  binary(test_device(), BinaryOp::subtract, y.data(), a.data(), b.data(), shape);
  CHECK(y == expected);
}

TEST_CASE("binary operations and comparisons agree with the reference for any strides") {
  Random random(1);
  for (int round = 0; round < 60; ++round) {
    StridedShape shape = random_shape(random);
    if (round % 2 == 1) permute(shape, random);
    check_binary<float>(shape);
    check_binary<double>(shape);
    check_compare<float>(shape);
    check_compare<double>(shape);
    check_compare<std::int64_t>(shape);
  }
}

TEST_CASE("binary operations on large arrays agree with the reference") {
  const std::vector<StridedShape> shapes{
      make_shape({40003}, {1}, {1}),  // same shape
      make_shape({40003}, {1}, {0}),  // with a scalar
      make_shape({40003}, {0}, {1}),
      make_shape({2003, 17}, {17, 1}, {0, 1}),     // with a vector of channels
      make_shape({2003, 17}, {1, 0}, {17, 1}),     // with a column
      make_shape({211, 199}, {1, 211}, {199, 1}),  // transposed
      make_shape({7, 11, 13, 41}, {0, 533, 41, 1}, {5863, 533, 0, 1})};
  for (const StridedShape& shape : shapes) {
    check_binary<float>(shape);
    check_binary<double>(shape);
    check_compare<std::int64_t>(shape);
  }
}

TEST_CASE("binary operations may overwrite an operand") {
  const Vector<float> a = random_values<float>(34000, 1), b = random_values<float>(17, 2);
  const StridedShape shape = make_shape({2000, 17}, {17, 1}, {0, 1});
  Vector<float> y(a.size()), in_place = a;
  binary(test_device(), BinaryOp::multiply, y.data(), a.data(), b.data(), shape);
  binary(test_device(), BinaryOp::multiply, in_place.data(), in_place.data(), b.data(), shape);
  CHECK(same_bits(in_place, y));
}

TEST_CASE("shapes without elements are left alone") {
  const StridedShape shape = make_shape({3, 0, 2}, {0, 2, 1}, {0, 2, 1});
  binary<float>(test_device(), BinaryOp::add, nullptr, nullptr, nullptr, shape);
  compare<float>(test_device(), CompareOp::less, nullptr, nullptr, nullptr, shape);
  copy_strided<float>(test_device(), nullptr, nullptr, shape);
  scatter_strided<float>(test_device(), nullptr, nullptr, shape, true);
}

TEST_CASE("comparisons with NaN are false, except not_equal") {
  const Vector<float> a(9, std::numeric_limits<float>::quiet_NaN()), b(9, 1.0F);
  Vector<std::uint8_t> y(9), expected(9);
  for (const CompareOp op : kCompareOps) {
    compare(test_device(), op, y.data(), a.data(), b.data(), make_shape({9}, {1}, {1}));
    reference::compare(op, expected.data(), a.data(), b.data(), make_shape({9}, {1}, {1}));
    CHECK(y == Vector<std::uint8_t>(9, op == CompareOp::not_equal ? 1 : 0));
    CHECK(y == expected);
  }
}

TEST_CASE("strided copies transpose, and scattering undoes them") {
  const std::vector<std::int64_t> x{1, 2, 3, 4, 5, 6};
  std::vector<std::int64_t> y(6);
  reference::copy_strided(y.data(), x.data(), make_shape({3, 2}, {1, 3}));
  CHECK(y == std::vector<std::int64_t>{1, 4, 2, 5, 3, 6});
  std::vector<std::int64_t> z(6, 100);
  reference::scatter_strided(z.data(), y.data(), make_shape({3, 2}, {1, 3}), true);
  CHECK(z == std::vector<std::int64_t>{101, 102, 103, 104, 105, 106});
  check_copy_and_scatter<float>();
  check_copy_and_scatter<double>();
  check_copy_and_scatter<std::int64_t>();
  check_copy_and_scatter<std::uint8_t>();
}

TEST_CASE("large strided copies agree with the reference") {
  const StridedShape shape = make_shape({40, 211, 17}, {17, 680, 1});
  const Vector<float> x = random_values<float>(shape.count(), 1);
  Vector<float> y(x.size()), expected(x.size());
  copy_strided(test_device(), y.data(), x.data(), shape);
  reference::copy_strided(expected.data(), x.data(), shape);
  CHECK(y == expected);
  for (const bool accumulate : {false, true}) {
    scatter_strided(test_device(), y.data(), x.data(), shape, accumulate);
    reference::scatter_strided(expected.data(), x.data(), shape, accumulate);
    CHECK(y == expected);
  }
}

TEST_CASE("fill, axpy, scale, clamp and the backwards agree with the reference") {
  check_fill<float>();
  check_fill<double>();
  check_fill<std::int64_t>();
  check_fill<std::uint8_t>();
  check_updates<float>();
  check_updates<double>();
}

TEST_CASE("the reference updates are what their contracts say") {
  Vector<double> y{1, 2, 3};
  const Vector<double> x{10, 20, 30}, relu_output{0, 5, std::nan("")};
  reference::fill(y.data(), 1.0, 1);
  reference::axpy(y.data(), 0.5, x.data(), 3);
  CHECK(y == Vector<double>{6, 12, 18});
  reference::scale(y.data(), -1.0, 3);
  CHECK(y == Vector<double>{-6, -12, -18});
  reference::relu_backward(y.data(), x.data(), relu_output.data(), 3, true);
  CHECK(y == Vector<double>{-6, 8, -18});
  reference::relu_backward(y.data(), x.data(), relu_output.data(), 3, false);
  CHECK(y == Vector<double>{0, 20, 0});
  reference::clamp(y.data(), x.data(), 15.0, 25.0, 3);
  CHECK(y == Vector<double>{15, 20, 25});
  clamp(test_device(), y.data(), relu_output.data(), -1.0, 1.0, 3);
  CHECK(std::isnan(y[2]));
  reference::clamp(y.data(), relu_output.data(), -1.0, 1.0, 3);
  CHECK(std::isnan(y[2]));
  y = {1, 2, 3};
  const Vector<double> clamped{-1, 0.5, 1};  // at the lower end, between, at the upper end
  reference::clamp_backward(y.data(), x.data(), clamped.data(), -1.0, 1.0, 3, true);
  CHECK(y == Vector<double>{1, 22, 3});
  reference::clamp_backward(y.data(), x.data(), clamped.data(), -1.0, 1.0, 3, false);
  CHECK(y == Vector<double>{0, 20, 0});
  const Vector<double> base{2, 3, -2};
  reference::power(y.data(), base.data(), 3.0, 3);
  CHECK(y == Vector<double>{8, 27, -8});
}

TEST_CASE("elementwise operations do not depend on the number of threads") {
  const Vector<float> a = random_values<float>(100003, 1), b = random_values<float>(100003, 2);
  CHECK(independent_of_threads([&] {
    Vector<float> y(a.size());
    unary(test_device(), UnaryOp::sigmoid, y.data(), a.data(), 100003);
    axpy(test_device(), y.data(), 0.3F, b.data(), 100003);
    return y;
  }));
  CHECK(independent_of_threads([&] {
    Vector<float> y(99990);
    binary(test_device(), BinaryOp::divide, y.data(), a.data(), b.data(),
           make_shape({9090, 11}, {11, 1}, {0, 1}));
    return y;
  }));
}

TEST_CASE("elementwise: rounding to bfloat16 matches the reference, bit by bit") {
  const auto check = [](const Vector<float>& x) {
    const auto count = static_cast<std::int64_t>(x.size());
    Vector<std::uint16_t> y(x.size()), expected(x.size());
    round_to_bfloat16(test_device(), y.data(), x.data(), count);
    reference::round_to_bfloat16(expected.data(), x.data(), count);
    CHECK(y == expected);
    Vector<float> wide(x.size()), expected_wide(x.size());
    widen_bfloat16(test_device(), wide.data(), y.data(), count);
    reference::widen_bfloat16(expected_wide.data(), y.data(), count);
    CHECK(same_bits(wide, expected_wide));
    return wide;
  };
  for (const std::int64_t count : kCounts) {
    const Vector<float> x = random_values<float>(count, 1, -3, 3), y = check(x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(std::abs(y[i] - x[i]) <= std::abs(x[i]) / 256);
    }
  }
  // 1 and its neighbours 1 + 2^-7 and 1 + 2^-6, with what lies half way.
  CHECK(check({1, 1.00390625F, 1.0078125F, 1.01171875F, 1.0039064F, 1.0117186F}) ==
        Vector<float>{1, 1, 1.0078125F, 1.015625F, 1.0078125F, 1.0078125F});
  // What is small stays what it is or becomes the smallest; what is large, infinite.
  const float least = std::ldexp(1.0F, -133), largest = 3.3895314e38F;
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(check({0, 1e-45F, -1e-45F, least / 2, least * 1.4F, least * 1.5F}) ==
        Vector<float>{0, least, -least, least, least, 2 * least});
  CHECK(check({largest, std::numeric_limits<float>::max(), -infinity}) ==
        Vector<float>{largest, infinity, -infinity});
  CHECK(std::signbit(check({-0.0F})[0]));
  const Vector<float> nan{std::numeric_limits<float>::quiet_NaN(),
                          std::bit_cast<float>(0x7f800001U), std::bit_cast<float>(0xffffffffU)};
  Vector<std::uint16_t> rounded(nan.size());
  round_to_bfloat16(test_device(), rounded.data(), nan.data(), 3);
  Vector<float> wide(nan.size());
  widen_bfloat16(test_device(), wide.data(), rounded.data(), 3);
  for (const float value : wide) CHECK(std::isnan(value));
}
