#include "attune/kernels/pool.h"

#include <limits>

#include "attune/kernels/reference/pool.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

// [n, h, w, c] pooled with windows r x s.
Pool2dShape make_shape(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c,
                       std::int64_t r, std::int64_t s, std::int64_t stride_h, std::int64_t stride_w,
                       std::int64_t pad_h, std::int64_t pad_w) {
  return {n,
          h,
          w,
          c,
          r,
          s,
          stride_h,
          stride_w,
          pad_h,
          pad_w,
          (h + 2 * pad_h - r) / stride_h + 1,
          (w + 2 * pad_w - s) / stride_w + 1};
}

const std::vector<Pool2dShape> kShapes{
    make_shape(1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
    make_shape(2, 8, 8, 16, 2, 2, 2, 2, 0, 0),     // halving
    make_shape(2, 15, 17, 67, 3, 3, 2, 2, 1, 1),   // an ImageNet stem: overlapping, padded
    make_shape(3, 9, 7, 5, 3, 2, 1, 3, 2, 1),      // nothing symmetric
    make_shape(1, 10, 11, 3, 2, 2, 4, 3, 0, 0),    // gaps that no window reads
    make_shape(1, 20, 20, 2, 15, 17, 3, 1, 7, 8),  // 255 taps
    make_shape(2, 5, 5, 130, 5, 5, 5, 5, 0, 0),    // one window an image
    make_shape(4, 33, 31, 32, 3, 3, 2, 2, 1, 1),   // enough for several threads
    make_shape(0, 4, 4, 3, 2, 2, 2, 2, 0, 0)};

std::int64_t inputs(const Pool2dShape& s) { return s.n * s.h * s.w * s.c; }
std::int64_t outputs(const Pool2dShape& s) { return s.n * s.p * s.q * s.c; }

// The windows of one image and channel, written out as definitions have it: every tap, those on
// padding with the value `outside`.
Vector<double> window(const Vector<double>& x, const Pool2dShape& s, std::int64_t n, std::int64_t p,
                      std::int64_t q, std::int64_t c, double outside) {
  Vector<double> taps;
  for (std::int64_t r = 0; r < s.r; ++r)
    for (std::int64_t t = 0; t < s.s; ++t) {
      const std::int64_t h = p * s.stride_h - s.pad_h + r, w = q * s.stride_w - s.pad_w + t;
      const bool inside = h >= 0 && h < s.h && w >= 0 && w < s.w;
      taps.push_back(inside ? x[static_cast<std::size_t>(((n * s.h + h) * s.w + w) * s.c + c)]
                            : outside);
    }
  return taps;
}

// Calls visit(n, p, q, c, i) for every output, i being its index.
template <typename Visit>
void for_each_output(const Pool2dShape& s, const Visit& visit) {
  std::size_t i = 0;
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t p = 0; p < s.p; ++p)
      for (std::int64_t q = 0; q < s.q; ++q)
        for (std::int64_t c = 0; c < s.c; ++c) visit(n, p, q, c, i++);
}

// Random small integers: with ties.
template <typename T>
Vector<T> tied_vector(std::int64_t count, std::uint64_t seed) {
  Vector<T> values = random_values<T>(count, seed, -4, 5);
  for (T& value : values) value = std::floor(value);
  return values;
}

template <typename T>
void check_max_pool(const Pool2dShape& shape) {
  Vector<T> x = tied_vector<T>(inputs(shape), 1);
  for (std::size_t i = 3; i < x.size(); i += 101) x[i] = std::numeric_limits<T>::quiet_NaN();
  const auto count = static_cast<std::size_t>(outputs(shape));
  Vector<T> y(count), y_alone(count), expected(count);
  Vector<std::uint8_t> argmax(count), expected_argmax(count);
  max_pool2d_forward(test_device(), y.data(), argmax.data(), x.data(), shape);
  max_pool2d_forward<T>(test_device(), y_alone.data(), nullptr, x.data(), shape);
  reference::max_pool2d_forward(expected.data(), expected_argmax.data(), x.data(), shape);
  CHECK(same_bits(y, expected));
  CHECK(same_bits(y_alone, expected));
  CHECK(argmax == expected_argmax);

  const Vector<T> dy = random_values<T>(outputs(shape), 2);
  for (const bool accumulate : {false, true}) {
    Vector<T> dx = random_values<T>(inputs(shape), 3), expected_dx = dx;
    max_pool2d_backward(test_device(), dx.data(), dy.data(), argmax.data(), shape, accumulate);
    reference::max_pool2d_backward(expected_dx.data(), dy.data(), argmax.data(), shape, accumulate);
    CHECK(relative_error(dx, expected_dx) <= kTolerance<T>);
  }
}

template <typename T>
void check_avg_pool(const Pool2dShape& shape) {
  const Vector<T> x = random_values<T>(inputs(shape), 1), dy = random_values<T>(outputs(shape), 2);
  Vector<T> y(dy.size()), expected(dy.size());
  avg_pool2d_forward(test_device(), y.data(), x.data(), shape);
  reference::avg_pool2d_forward(expected.data(), x.data(), shape);
  CHECK(relative_error(y, expected) <= 4 * kTolerance<T>);
  for (const bool accumulate : {false, true}) {
    Vector<T> dx = random_values<T>(inputs(shape), 3), expected_dx = dx;
    avg_pool2d_backward(test_device(), dx.data(), dy.data(), shape, accumulate);
    reference::avg_pool2d_backward(expected_dx.data(), dy.data(), shape, accumulate);
    CHECK(relative_error(dx, expected_dx) <= 4 * kTolerance<T>);
  }
}

template <typename T>
void check_global_pool(std::int64_t n, std::int64_t pixels, std::int64_t c) {
  const Vector<T> x = random_values<T>(n * pixels * c, 1), dy = random_values<T>(n * c, 2);
  Vector<T> y(dy.size()), expected(dy.size());
  global_avg_pool_forward(test_device(), y.data(), x.data(), n, pixels, c);
  reference::global_avg_pool_forward(expected.data(), x.data(), n, pixels, c);
  CHECK(relative_error(y, expected) <= kTolerance<T>);
  for (const bool accumulate : {false, true})
    for (const T* mask : {static_cast<const T*>(nullptr), x.data()}) {
      Vector<T> dx = random_values<T>(n * pixels * c, 3), expected_dx = dx;
      global_avg_pool_backward(test_device(), dx.data(), dy.data(), n, pixels, c, accumulate, mask);
      reference::global_avg_pool_backward(expected_dx.data(), dy.data(), n, pixels, c, accumulate,
                                          mask);
      CHECK(relative_error(dx, expected_dx) <= kTolerance<T>);
    }
}

}  // namespace

TEST_CASE("reference max pooling finds the first largest tap of each window") {
  for (const Pool2dShape& shape : kShapes) {
    const Vector<double> x = tied_vector<double>(inputs(shape), 1);
    Vector<double> y(static_cast<std::size_t>(outputs(shape)));
    Vector<std::uint8_t> argmax(y.size());
    reference::max_pool2d_forward(y.data(), argmax.data(), x.data(), shape);
    bool right = true;
    for_each_output(shape, [&](auto n, auto p, auto q, auto c, std::size_t i) {
      const double outside = -std::numeric_limits<double>::infinity();
      const Vector<double> taps = window(x, shape, n, p, q, c, outside);
      const auto largest = std::max_element(taps.begin(), taps.end());
      right = right && y[i] == *largest && argmax[i] == largest - taps.begin();
    });
    CHECK(right);
  }
}

TEST_CASE("reference average pooling counts padding as zeros") {
  for (const Pool2dShape& shape : kShapes) {
    const Vector<double> x = random_values<double>(inputs(shape), 1);
    Vector<double> y(static_cast<std::size_t>(outputs(shape))), expected;
    reference::avg_pool2d_forward(y.data(), x.data(), shape);
    for_each_output(shape, [&](auto n, auto p, auto q, auto c, std::size_t) {
      double sum = 0;
      for (const double tap : window(x, shape, n, p, q, c, 0)) sum += tap;
      expected.push_back(sum / static_cast<double>(shape.r * shape.s));
    });
    CHECK(relative_error(y, expected) <= 1e-13);
  }
}

TEST_CASE("reference pooling gradients are adjoint to the forward passes") {
  for (const Pool2dShape& shape : kShapes) {
    const Vector<double> x = random_values<double>(inputs(shape), 1);
    const Vector<double> dy = random_values<double>(outputs(shape), 2);
    Vector<double> y(dy.size()), dx(x.size());
    reference::avg_pool2d_forward(y.data(), x.data(), shape);
    reference::avg_pool2d_backward(dx.data(), dy.data(), shape, false);
    CHECK(std::abs(dot(y, dy) - dot(x, dx)) <= 1e-11);

    // For given positions max pooling is linear too: it selects.
    Vector<std::uint8_t> argmax(y.size());
    reference::max_pool2d_forward(y.data(), argmax.data(), x.data(), shape);
    reference::max_pool2d_backward(dx.data(), dy.data(), argmax.data(), shape, false);
    CHECK(std::abs(dot(y, dy) - dot(x, dx)) <= 1e-11);
  }
}

TEST_CASE("reference max-pooling gradient is that of finite differences") {
  const Pool2dShape shape = make_shape(1, 5, 6, 2, 3, 3, 2, 2, 1, 1);
  const Vector<double> x = random_values<double>(inputs(shape), 1);
  const Vector<double> dy = random_values<double>(outputs(shape), 2);
  Vector<double> dx(x.size());
  Vector<std::uint8_t> argmax(dy.size());
  const auto forward = [&](const Vector<double>& input) {
    Vector<double> y(dy.size());
    reference::max_pool2d_forward(y.data(), argmax.data(), input.data(), shape);
    return y;
  };
  forward(x);
  reference::max_pool2d_backward(dx.data(), dy.data(), argmax.data(), shape, false);
  CHECK(relative_error(dx, numerical_gradient(x, dy, forward)) <= 1e-8);
}

TEST_CASE("pooling agrees with the reference") {
  for (const Pool2dShape& s : kShapes) {
    INFO(s.n << " x " << s.h << " x " << s.w << " x " << s.c << ", window " << s.r << " x " << s.s);
    check_max_pool<float>(s);
    check_max_pool<double>(s);
    check_avg_pool<float>(s);
    check_avg_pool<double>(s);
  }
}

TEST_CASE("pooling with random geometry agrees with the reference") {
  Random random(7);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t r = random.integer(1, 4), s = random.integer(1, 4);
    const Pool2dShape shape =
        make_shape(random.integer(1, 3), random.integer(r, 12), random.integer(s, 12),
                   random.integer(1, 20), r, s, random.integer(1, 4), random.integer(1, 4),
                   random.integer(0, r / 2), random.integer(0, s / 2));
    check_max_pool<float>(shape);
    check_avg_pool<float>(shape);
  }
}

TEST_CASE("max pooling takes the first NaN of a window") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Vector<float> x{1, nan, 9, nan};
  const Pool2dShape shape = make_shape(1, 2, 2, 1, 2, 2, 1, 1, 0, 0);
  Vector<float> y(1);
  Vector<std::uint8_t> argmax(1);
  max_pool2d_forward(test_device(), y.data(), argmax.data(), x.data(), shape);
  CHECK(std::isnan(y[0]));
  CHECK(argmax[0] == 1);
  reference::max_pool2d_forward(y.data(), argmax.data(), x.data(), shape);
  CHECK(std::isnan(y[0]));
  CHECK(argmax[0] == 1);
}

TEST_CASE("global average pooling agrees with the reference") {
  for (const std::int64_t pixels : {1, 49, 64, 1000})
    for (const std::int64_t c : {1, 3, 64, 200}) {
      check_global_pool<float>(3, pixels, c);
      check_global_pool<double>(3, pixels, c);
    }
  check_global_pool<float>(0, 4, 3);
  check_global_pool<float>(1, 40000, 2);
}

TEST_CASE("reference global average pooling and its gradient") {
  const Vector<double> x{1, 10, 3, 20, 5, 30, 7, 40};  // two images of two pixels
  Vector<double> y(4), dx(8, 100.0);
  reference::global_avg_pool_forward(y.data(), x.data(), 2, 2, 2);
  CHECK(y == Vector<double>{2, 15, 6, 35});
  const Vector<double> dy{2, 4, 6, 8}, mask{1, 0, 1, 1, -1, 1, 1, std::nan("")};
  reference::global_avg_pool_backward<double>(dx.data(), dy.data(), 2, 2, 2, true, nullptr);
  CHECK(dx == Vector<double>{101, 102, 101, 102, 103, 104, 103, 104});
  reference::global_avg_pool_backward(dx.data(), dy.data(), 2, 2, 2, false, mask.data());
  CHECK(dx == Vector<double>{1, 0, 1, 2, 0, 4, 3, 0});
}

TEST_CASE("pooling does not depend on the number of threads") {
  const Pool2dShape shape = kShapes[7];
  const Vector<float> x = random_values<float>(inputs(shape), 1);
  const Vector<float> dy = random_values<float>(outputs(shape), 2);
  Vector<std::uint8_t> argmax(dy.size());
  CHECK(independent_of_threads([&] {
    Vector<float> y(dy.size());
    max_pool2d_forward(test_device(), y.data(), argmax.data(), x.data(), shape);
    return y;
  }));
  CHECK(independent_of_threads([&] {
    Vector<float> dx(x.size());
    max_pool2d_backward(test_device(), dx.data(), dy.data(), argmax.data(), shape, false);
    avg_pool2d_backward(test_device(), dx.data(), dy.data(), shape, true);
    return dx;
  }));
}
