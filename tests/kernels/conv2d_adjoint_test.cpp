#include <cmath>

#include "attune/kernels/conv2d.h"
#include "attune/kernels/reference/conv2d.h"
#include "tests/catch.h"
#include "tests/kernels/conv2d_cases.h"

// What the reference convolution itself is checked against: values worked out by hand, the
// transposed convolution written as a scatter, and the identities
// <conv(x, w), u> = <x, conv^T(u, w)> = <w, conv_w^T(x, u)>, which hold for any x, w, u.

namespace attune::kernels {
namespace {

constexpr std::uint64_t kRandomShapes = 150;

TEST_CASE("reference conv2d: an example by hand") {
  // One 3x3 image, one 2x2 filter, stride 2, one pixel of padding:
  //   0 0 0 0 0
  //   0 1 2 3 0       10 20
  //   0 4 5 6 0   *   30 40      (a correlation: the filter is not turned)
  //   0 7 8 9 0
  //   0 0 0 0 0
  const Conv2dShape shape =
      make_conv2d_shape("test", {1, 3, 3, 1}, {1, 2, 2, 1}, {{2, 2}, {1, 1}, {1, 1}, 1});
  const test::Vector<double> x{1, 2, 3, 4, 5, 6, 7, 8, 9}, w{10, 20, 30, 40};
  test::Vector<double> y(4);
  reference::conv2d_forward(y.data(), x.data(), w.data(), shape);
  CHECK(y == test::Vector<double>{40 * 1, 30 * 2 + 40 * 3, 20 * 4 + 40 * 7,
                                  10 * 5 + 20 * 6 + 30 * 8 + 40 * 9});

  const test::Vector<double> bias{-300}, residual{1, 2, 3, 4}, mask{1, 1, 1, 0};
  reference::conv2d_forward(
      y.data(), x.data(), w.data(), shape,
      {.bias = bias.data(), .residual = residual.data(), .relu = true, .mask = mask.data()});
  CHECK(y == test::Vector<double>{0, 0, 63, 0});
}

TEST_CASE("reference conv2d: groups and dilation by hand") {
  // Two groups of one channel, a row of five pixels, taps two pixels apart.
  const Conv2dShape shape =
      make_conv2d_shape("test", {1, 1, 5, 2}, {4, 1, 2, 1}, {{1, 1}, {0, 0}, {1, 2}, 2});
  const test::Vector<double> x{1, 10, 2, 20, 3, 30, 4, 40, 5, 50};
  const test::Vector<double> w{1, 0, 0, 1, 1, 1, 1, -1};
  test::Vector<double> y(static_cast<std::size_t>(shape.output_count()));
  reference::conv2d_forward(y.data(), x.data(), w.data(), shape);
  CHECK(y == test::Vector<double>{1, 3, 40, -20, 2, 4, 60, -20, 3, 5, 80, -20});
}

TEST_CASE("reference conv2d: backward_input is the transposed convolution, as a scatter") {
  std::uint64_t seed = 0;
  for (const Conv2dShape& s : test::conv2d_shapes(kRandomShapes)) {
    INFO("case " << seed << ": " << test::to_string(s));
    const auto dy = test::random_values<double>(s.output_count(), ++seed);
    const auto w = test::random_values<double>(s.filter_count(), ++seed);
    test::Vector<double> scattered(static_cast<std::size_t>(s.input_count())), dx = scattered;
    const std::int64_t channels = s.channels_per_group();
    for (std::int64_t from = 0; from < s.output_count(); ++from)
      for (std::int64_t tap = 0; tap < s.r * s.s * channels; ++tap) {
        const std::int64_t k = from % s.k, q = from / s.k % s.q, p = from / (s.k * s.q) % s.p;
        const std::int64_t n = from / (s.k * s.q * s.p);
        const std::int64_t c = tap % channels, column = tap / channels % s.s;
        const std::int64_t row = tap / (channels * s.s);
        const std::int64_t h = p * s.stride_h + row * s.dilation_h - s.pad_h;
        const std::int64_t v = q * s.stride_w + column * s.dilation_w - s.pad_w;
        if (h < 0 || h >= s.h || v < 0 || v >= s.w) continue;
        const std::int64_t channel = k / s.filters_per_group() * channels + c;
        scattered.at(static_cast<std::size_t>(((n * s.h + h) * s.w + v) * s.c + channel)) +=
            dy.at(static_cast<std::size_t>(from)) *
            w.at(static_cast<std::size_t>(k * s.r * s.s * channels + tap));
      }
    reference::conv2d_backward_input(dx.data(), dy.data(), w.data(), s);
    CHECK(test::relative_error(dx, scattered) <= 1e-14);
  }
}

/// Checks both identities, relative to the norms of what is multiplied.
template <typename Forward, typename BackwardInput, typename BackwardWeight>
void check_adjoint(const Conv2dShape& shape, std::uint64_t seed, const Forward& forward,
                   const BackwardInput& backward_input, const BackwardWeight& backward_weight) {
  const auto x = test::random_values<double>(shape.input_count(), seed);
  const auto w = test::random_values<double>(shape.filter_count(), seed + 1);
  const auto u = test::random_values<double>(shape.output_count(), seed + 2);
  test::Vector<double> y(u.size()), dx(x.size()), dw(w.size());
  forward(y.data(), x.data(), w.data());
  backward_input(dx.data(), u.data(), w.data());
  backward_weight(dw.data(), x.data(), u.data());
  const double expected = test::dot(y, u);
  const double scale = std::sqrt(test::dot(y, y) * test::dot(u, u));
  CHECK(std::abs(test::dot(x, dx) - expected) <= 1e-13 * scale);
  CHECK(std::abs(test::dot(w, dw) - expected) <= 1e-13 * scale);
}

TEST_CASE("reference conv2d: the backward kernels are the adjoints of forward") {
  std::uint64_t seed = 0;
  for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
    INFO("case " << seed << ": " << test::to_string(shape));
    check_adjoint(
        shape, ++seed,
        [&](double* y, const double* x, const double* w) {
          reference::conv2d_forward(y, x, w, shape);
        },
        [&](double* dx, const double* dy, const double* w) {
          reference::conv2d_backward_input(dx, dy, w, shape);
        },
        [&](double* dw, const double* x, const double* dy) {
          reference::conv2d_backward_weight(dw, x, dy, shape);
        });
  }
}

TEST_CASE("conv2d: the backward kernels are the adjoints of forward") {
  std::uint64_t seed = 0;
  for (const Conv2dShape& shape : test::conv2d_shapes(kRandomShapes)) {
    INFO("case " << seed << ": " << test::to_string(shape));
    check_adjoint(
        shape, ++seed,
        [&](double* y, const double* x, const double* w) {
          conv2d_forward(test::test_device(), y, x, w, shape);
        },
        [&](double* dx, const double* dy, const double* w) {
          conv2d_backward_input(test::test_device(), dx, dy, w, shape);
        },
        [&](double* dw, const double* x, const double* dy) {
          conv2d_backward_weight(test::test_device(), dw, x, dy, shape);
        });
  }
}

}  // namespace
}  // namespace attune::kernels
