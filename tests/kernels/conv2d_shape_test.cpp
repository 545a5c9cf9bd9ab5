#include "attune/kernels/conv2d_shape.h"

#include "attune/kernels/error.h"
#include "tests/catch.h"
#include "tests/test_util.h"

namespace attune {
namespace {

using Dims = std::array<std::int64_t, 4>;

std::string conv_error(const Dims& x, const Dims& w, const Conv2dOptions& options = {}) {
  return test::message_of<Error>([&] { make_conv2d_shape("conv2d", x, w, options); });
}

std::string transpose_error(const Dims& x, const Dims& w, const Conv2dOptions& options = {},
                            const std::array<std::int64_t, 2>& output_padding = {0, 0}) {
  return test::message_of<Error>(
      [&] { make_conv_transpose2d_shape("conv_transpose2d", x, w, options, output_padding); });
}

TEST_CASE("conv2d shape: the output size follows the formula") {
  // ImageNet's stem: 224 -> 112, then an asymmetric, dilated, grouped case computed by hand:
  // P = (11 + 2*1 - 2*(3-1) - 1) / 3 + 1 = 8/3 + 1 = 3, Q = (9 + 4 - 3*(2-1) - 1) / 2 + 1 = 5.
  const Conv2dShape stem =
      make_conv2d_shape("conv2d", {2, 224, 224, 3}, {64, 7, 7, 3}, {{2, 2}, {3, 3}, {1, 1}, 1});
  CHECK(stem.p == 112);
  CHECK(stem.q == 112);
  CHECK(stem.k == 64);
  CHECK(stem.flops() == 2LL * 2 * 112 * 112 * 64 * 7 * 7 * 3);

  const Conv2dShape odd =
      make_conv2d_shape("conv2d", {1, 11, 9, 6}, {4, 3, 2, 3}, {{3, 2}, {1, 2}, {2, 3}, 2});
  CHECK(odd.p == 3);
  CHECK(odd.q == 5);
  CHECK(odd.channels_per_group() == 3);
  CHECK(odd.filters_per_group() == 2);
  CHECK(odd.input_count() == 11 * 9 * 6);
  CHECK(odd.filter_count() == 4 * 3 * 2 * 3);
  CHECK(odd.output_count() == 3 * 5 * 4);
}

TEST_CASE("conv2d shape: a filter as large as the padded input gives one pixel") {
  const Conv2dShape shape =
      make_conv2d_shape("conv2d", {1, 3, 4, 1}, {1, 5, 4, 1}, {{1, 1}, {1, 0}, {1, 1}, 1});
  CHECK(shape.p == 1);
  CHECK(shape.q == 1);
}

TEST_CASE("conv2d shape: a transposed convolution undoes the size of the ordinary one") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    test::Random random(seed);
    const auto two = [&](std::int64_t low, std::int64_t high) {
      return std::array<std::int64_t, 2>{random.integer(low, high), random.integer(low, high)};
    };
    const std::int64_t groups = random.integer(1, 3), channels = random.integer(1, 3);
    const Conv2dOptions options{two(1, 3), two(0, 2), two(1, 2), groups};
    const Dims x{2, random.integer(5, 12), random.integer(5, 12), groups * channels};
    const Dims w{2 * groups, random.integer(1, 3), random.integer(1, 3), channels};
    const Conv2dShape there = make_conv2d_shape("conv2d", x, w, options);

    // What the division by the stride rounded away is what output padding gives back.
    const std::array<std::int64_t, 2> lost{
        (there.h + 2 * there.pad_h - there.dilation_h * (there.r - 1) - 1) % there.stride_h,
        (there.w + 2 * there.pad_w - there.dilation_w * (there.s - 1) - 1) % there.stride_w};
    const Conv2dShape back = make_conv_transpose2d_shape(
        "conv_transpose2d", {there.n, there.p, there.q, there.k}, w, options, lost);
    INFO("seed " << seed);
    CHECK(back.n == there.n);
    CHECK(back.h == there.h);
    CHECK(back.w == there.w);
    CHECK(back.c == there.c);
    CHECK(back.k == there.k);
    CHECK(back.p == there.p);
    CHECK(back.q == there.q);
    CHECK(back.groups == there.groups);
  }
}

TEST_CASE("conv2d shape: errors name the operation, the argument and both shapes") {
  CHECK(conv_error({2, 8, 8, 3}, {16, 3, 3, 4}) ==
        "conv2d: input has 3 channels, but the filter with groups=1 expects 4 (input [2, 8, 8, 3], "
        "filter [16, 3, 3, 4])");
  CHECK(conv_error({2, 8, 8, 6}, {16, 3, 3, 2}, {{1, 1}, {0, 0}, {1, 1}, 3}) ==
        "conv2d: 16 filters cannot be divided into 3 groups (input [2, 8, 8, 6], filter [16, 3, 3, "
        "2])");
  CHECK(conv_error({2, 4, 8, 3}, {16, 3, 3, 3}, {{1, 1}, {0, 1}, {2, 1}, 1}) ==
        "conv2d: the filter spans (5, 3) pixels, more than the padded input's (4, 10) (input [2, "
        "4, 8, 3], filter [16, 3, 3, 3])");
  CHECK(transpose_error({2, 8, 8, 3}, {16, 3, 3, 4}) ==
        "conv_transpose2d: input has 3 channels, but the filter expects 16 (input [2, 8, 8, 3], "
        "filter [16, 3, 3, 4])");
  CHECK(transpose_error({2, 8, 8, 16}, {16, 3, 3, 4}, {{1, 1}, {0, 0}, {1, 1}, 3}) ==
        "conv_transpose2d: 16 input channels cannot be divided into 3 groups (input [2, 8, 8, 16], "
        "filter [16, 3, 3, 4])");
  CHECK(transpose_error({2, 8, 8, 16}, {16, 3, 3, 4}, {{2, 2}, {0, 0}, {1, 1}, 1}, {1, 2}) ==
        "conv_transpose2d: output padding (1, 2) must be smaller than stride or dilation (input "
        "[2, 8, 8, 16], filter [16, 3, 3, 4])");
  CHECK(transpose_error({2, 1, 1, 16}, {16, 3, 3, 4}, {{1, 1}, {0, 2}, {1, 1}, 1}) ==
        "conv_transpose2d: the output would be (3, -1) pixels (input [2, 1, 1, 16], filter [16, 3, "
        "3, 4])");
}

TEST_CASE("conv2d shape: every number is checked") {
  const Dims x{2, 8, 8, 4}, w{6, 3, 3, 4};
  CHECK(conv_error(x, w).empty());
  for (std::size_t i = 0; i < 4; ++i) {
    for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 40}) {
      Dims broken = x;
      broken[i] = bad;
      CHECK(conv_error(broken, w).rfind("conv2d: input dimensions must be", 0) == 0);
      broken = w;
      broken[i] = bad;
      CHECK(conv_error(x, broken).rfind("conv2d: filter dimensions must be", 0) == 0);
    }
  }
  CHECK(conv_error(x, w, {{1, 0}, {0, 0}, {1, 1}, 1}).rfind("conv2d: stride (1, 0) must", 0) == 0);
  CHECK(conv_error(x, w, {{1, 1}, {-1, 0}, {1, 1}, 1}).rfind("conv2d: padding (-1, 0)", 0) == 0);
  CHECK(conv_error(x, w, {{1, 1}, {0, 0}, {0, 1}, 1}).rfind("conv2d: dilation (0, 1)", 0) == 0);
  CHECK(conv_error(x, w, {{1, 1}, {0, 0}, {1, 1}, 0}).rfind("conv2d: groups=0 must", 0) == 0);
  CHECK(transpose_error({2, 8, 8, 6}, w, {}, {-1, 0})
            .rfind("conv_transpose2d: output padding (-1, 0) must", 0) == 0);
}

TEST_CASE("conv2d shape: counts that overflow are refused") {
  const std::int64_t big = 1 << 20;
  CHECK(conv_error({big, big, big, 8}, {8, 1, 1, 8}).rfind("conv2d: input has too many", 0) == 0);
  CHECK(conv_error({big, big, 1, 8}, {big, 1, 1, 8}).rfind("conv2d: output has too many", 0) == 0);
  CHECK(conv_error({1, 1, 1, big}, {big, big, 1, big}, {{1, 1}, {big, 0}, {1, 1}, 1})
            .rfind("conv2d: filter has too many", 0) == 0);
  CHECK(conv_error({big, 1024, 1024, 1024}, {1024, 3, 3, 1024}, {{1, 1}, {1, 1}, {1, 1}, 1})
            .rfind("conv2d: the sum over all taps has too many", 0) == 0);
  CHECK(transpose_error({big, big, big, 8}, {8, 1, 1, 8}).rfind("conv_transpose2d: ", 0) == 0);
}

}  // namespace
}  // namespace attune
