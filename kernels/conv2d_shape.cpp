#include "attune/kernels/conv2d_shape.h"

#include <initializer_list>
#include <limits>

#include "attune/kernels/error.h"

namespace attune {
namespace {

using Dims = std::array<std::int64_t, 4>;

std::string to_string(const Dims& dims) {
  std::string text = "[";
  for (const std::int64_t size : dims) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

std::string to_string(const std::array<std::int64_t, 2>& pair) {
  return "(" + std::to_string(pair[0]) + ", " + std::to_string(pair[1]) + ")";
}

// No size, stride, padding or dilation beyond this makes sense, and below it no extent computed
// here can overflow: each is a sum of a few products of two such numbers.
constexpr std::int64_t kLargest = std::int64_t{1} << 30;

/// What is being checked, for messages.
struct Call {
  const std::string& op;
  const Dims& x;
  const Dims& w;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(op + ": " + what + " (input " + to_string(x) + ", filter " + to_string(w) + ")");
  }

  void check_dims(const char* name, const Dims& dims) const {
    for (const std::int64_t size : dims) {
      if (size < 1 || size > kLargest) {
        fail(std::string(name) + " dimensions must be between 1 and 2^30");
      }
    }
  }

  void check_pair(const char* name, const std::array<std::int64_t, 2>& pair,
                  std::int64_t smallest) const {
    for (const std::int64_t value : pair) {
      if (value < smallest || value > kLargest) {
        fail(std::string(name) + " " + to_string(pair) + " must be between " +
             std::to_string(smallest) + " and 2^30");
      }
    }
  }

  void check_options(const Conv2dOptions& options) const {
    check_dims("input", x);
    check_dims("filter", w);
    check_pair("stride", options.stride, 1);
    check_pair("padding", options.padding, 0);
    check_pair("dilation", options.dilation, 1);
    if (options.groups < 1 || options.groups > kLargest) {
      fail("groups=" + std::to_string(options.groups) + " must be between 1 and 2^30");
    }
  }

  /// Throws unless the product, in bytes of the widest element, fits an std::int64_t.
  void check_product(const char* name, std::initializer_list<std::int64_t> factors) const {
    std::int64_t room = std::numeric_limits<std::int64_t>::max() / 8;
    for (const std::int64_t factor : factors) room /= factor;
    if (room == 0) fail(std::string(name) + " has too many elements");
  }

  void check_counts(const Conv2dShape& shape) const {
    check_product("input", {shape.n, shape.h, shape.w, shape.c});
    check_product("output", {shape.n, shape.p, shape.q, shape.k});
    check_product("filter", {shape.k, shape.r, shape.s, shape.channels_per_group()});
    check_product("the sum over all taps", {shape.n, shape.p, shape.q, shape.k, shape.r, shape.s,
                                            shape.channels_per_group()});
  }
};

/// Everything that does not depend on which side of the convolution is given.
Conv2dShape sliding_shape(const Dims& w, const Conv2dOptions& options) {
  Conv2dShape shape;
  shape.k = w[0];
  shape.r = w[1];
  shape.s = w[2];
  shape.c = w[3] * options.groups;
  shape.stride_h = options.stride[0];
  shape.stride_w = options.stride[1];
  shape.pad_h = options.padding[0];
  shape.pad_w = options.padding[1];
  shape.dilation_h = options.dilation[0];
  shape.dilation_w = options.dilation[1];
  shape.groups = options.groups;
  return shape;
}

/// Pixels between the first and the last tap of a filter, both included.
std::int64_t span(std::int64_t taps, std::int64_t dilation) { return dilation * (taps - 1) + 1; }

}  // namespace

Conv2dShape make_conv2d_shape(const std::string& op, const Dims& x, const Dims& w,
                              const Conv2dOptions& options) {
  const Call call{op, x, w};
  call.check_options(options);
  if (x[3] != w[3] * options.groups) {
    call.fail("input has " + std::to_string(x[3]) + " channels, but the filter with groups=" +
              std::to_string(options.groups) + " expects " + std::to_string(w[3] * options.groups));
  }
  if (w[0] % options.groups != 0) {
    call.fail(std::to_string(w[0]) + " filters cannot be divided into " +
              std::to_string(options.groups) + " groups");
  }

  Conv2dShape shape = sliding_shape(w, options);
  shape.n = x[0];
  shape.h = x[1];
  shape.w = x[2];
  const std::array<std::int64_t, 2> padded{shape.h + 2 * shape.pad_h, shape.w + 2 * shape.pad_w};
  const std::array<std::int64_t, 2> spans{span(shape.r, shape.dilation_h),
                                          span(shape.s, shape.dilation_w)};
  if (spans[0] > padded[0] || spans[1] > padded[1]) {
    call.fail("the filter spans " + to_string(spans) + " pixels, more than the padded input's " +
              to_string(padded));
  }
  shape.p = (padded[0] - spans[0]) / shape.stride_h + 1;
  shape.q = (padded[1] - spans[1]) / shape.stride_w + 1;
  call.check_counts(shape);
  return shape;
}

Conv2dShape make_conv_transpose2d_shape(const std::string& op, const Dims& x, const Dims& w,
                                        const Conv2dOptions& options,
                                        const std::array<std::int64_t, 2>& output_padding) {
  const Call call{op, x, w};
  call.check_options(options);
  call.check_pair("output padding", output_padding, 0);
  if (x[3] != w[0]) {
    call.fail("input has " + std::to_string(x[3]) + " channels, but the filter expects " +
              std::to_string(w[0]));
  }
  if (w[0] % options.groups != 0) {
    call.fail(std::to_string(w[0]) + " input channels cannot be divided into " +
              std::to_string(options.groups) + " groups");
  }
  for (std::size_t d = 0; d < 2; ++d) {
    if (output_padding[d] >= options.stride[d] && output_padding[d] >= options.dilation[d]) {
      call.fail("output padding " + to_string(output_padding) +
                " must be smaller than stride or dilation");
    }
  }

  Conv2dShape shape = sliding_shape(w, options);
  shape.n = x[0];
  shape.p = x[1];
  shape.q = x[2];
  shape.h = (shape.p - 1) * shape.stride_h - 2 * shape.pad_h + span(shape.r, shape.dilation_h) +
            output_padding[0];
  shape.w = (shape.q - 1) * shape.stride_w - 2 * shape.pad_w + span(shape.s, shape.dilation_w) +
            output_padding[1];
  if (shape.h < 1 || shape.w < 1) {
    call.fail("the output would be " + to_string(std::array{shape.h, shape.w}) + " pixels");
  }
  call.check_counts(shape);
  return shape;
}

}  // namespace attune
