#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "attune/kernels/conv2d.h"
#include "tests/kernels/device_vector.h"
#include "tests/test_util.h"

// The geometries and epilogues that convolution kernels are tested on.
namespace attune::test {

inline std::string to_string(const Conv2dShape& s) {
  const auto pair = [](std::int64_t a, std::int64_t b) {
    return std::to_string(a) + "x" + std::to_string(b);
  };
  return "n " + std::to_string(s.n) + ", input " + pair(s.h, s.w) + "x" + std::to_string(s.c) +
         ", filter " + std::to_string(s.k) + " of " + pair(s.r, s.s) + ", stride " +
         pair(s.stride_h, s.stride_w) + ", pad " + pair(s.pad_h, s.pad_w) + ", dilation " +
         pair(s.dilation_h, s.dilation_w) + ", groups " + std::to_string(s.groups);
}

/// A geometry drawn at random: every option, often unequal in height and width, and one case in
/// four depthwise.
inline Conv2dShape random_conv2d_shape(std::uint64_t seed) {
  Random random(seed);
  const auto two = [&](std::int64_t low, std::int64_t high) {
    return std::array<std::int64_t, 2>{random.integer(low, high), random.integer(low, high)};
  };
  const Conv2dOptions sliding{two(1, 3), two(0, 3), two(1, 2), random.integer(1, 4)};
  const auto filter = two(1, 4), extra = two(0, 8);
  const bool depthwise = random.integer(0, 3) == 0;
  const std::int64_t channels = depthwise ? 1 : random.integer(1, 9);
  const std::int64_t filters = depthwise ? 1 : random.integer(1, 9);
  Conv2dOptions options = sliding;
  if (depthwise) options.groups = random.integer(2, 20);
  std::array<std::int64_t, 2> size{};
  for (std::size_t d = 0; d < 2; ++d) {
    const std::int64_t span = options.dilation[d] * (filter[d] - 1) + 1;
    size[d] = std::max<std::int64_t>(1, span - 2 * options.padding[d]) + extra[d];
  }
  return make_conv2d_shape("test",
                           {random.integer(1, 3), size[0], size[1], options.groups * channels},
                           {options.groups * filters, filter[0], filter[1], channels}, options);
}

/// Geometries that take each path of the fast kernels on purpose.
inline std::vector<Conv2dShape> notable_conv2d_shapes() {
  const auto make = [](std::array<std::int64_t, 4> x, std::array<std::int64_t, 4> w,
                       const Conv2dOptions& options) {
    return make_conv2d_shape("test", x, w, options);
  };
  return {
      make({3, 20, 17, 24}, {16, 3, 3, 24}, {{1, 1}, {1, 1}, {1, 1}, 1}),  // many blocks of pixels
      make({1, 33, 29, 24}, {8, 3, 3, 24}, {{1, 1}, {1, 1}, {1, 1}, 1}),   // ... in one image
      make({2, 21, 19, 24}, {8, 3, 3, 12}, {{2, 1}, {2, 1}, {2, 1}, 2}),   // ... of two groups
      make({2, 5, 6, 70}, {40, 3, 3, 70}, {{2, 2}, {1, 1}, {1, 1}, 1}),
      make({2, 12, 11, 3}, {8, 7, 7, 3}, {{2, 2}, {3, 3}, {1, 1}, 1}),     // a stem
      make({3, 25, 26, 40}, {24, 1, 1, 40}, {{1, 1}, {0, 0}, {1, 1}, 1}),  // pointwise
      make({2, 9, 8, 12}, {18, 1, 1, 4}, {{1, 1}, {0, 0}, {1, 1}, 3}),     // ... of three groups
      make({2, 9, 8, 12}, {7, 1, 1, 12}, {{2, 2}, {0, 0}, {1, 1}, 1}),     // a 1x1 shortcut
      make({2, 5, 4, 6}, {7, 1, 1, 6}, {{1, 1}, {1, 2}, {1, 1}, 1}),       // 1x1, padded
      make({2, 17, 16, 33}, {33, 3, 3, 1}, {{1, 1}, {1, 1}, {1, 1}, 33}),  // depthwise
      make({2, 9, 16, 8}, {8, 3, 2, 1}, {{2, 3}, {1, 1}, {2, 2}, 8}),
      make({2, 7, 7, 6}, {12, 3, 3, 1}, {{1, 1}, {1, 1}, {1, 1}, 6}),  // two filters a channel
      make({1, 1, 1, 1}, {1, 1, 1, 1}, {{1, 1}, {0, 0}, {1, 1}, 1}),
      make({1, 2, 2, 5}, {4, 3, 3, 5}, {{1, 1}, {3, 3}, {1, 1}, 1}),  // more padding than image
      make({1, 4, 4, 5}, {4, 2, 2, 5}, {{3, 3}, {0, 0}, {1, 1}, 1}),  // pixels that nobody reads
      make({2, 19, 33, 16}, {16, 3, 3, 16}, {{1, 1}, {1, 1}, {1, 1}, 1}),  // Winograd's,
      make({3, 8, 9, 32}, {48, 3, 3, 32}, {{1, 1}, {0, 2}, {1, 1}, 1}),    // ... padded unequally,
      make({40, 7, 7, 48}, {80, 3, 3, 48}, {{1, 1}, {1, 1}, {1, 1}, 1}),   // ... in several slices
      make({1, 5, 4, 144}, {160, 3, 3, 144}, {{1, 1}, {1, 1}, {1, 1}, 1}),
      make({2, 1, 1, 16}, {16, 3, 3, 16}, {{1, 1}, {1, 1}, {1, 1}, 1}),
      make({2, 16, 16, 32}, {64, 3, 3, 32}, {{2, 2}, {1, 1}, {1, 1}, 1}),    // a stage begins
      make({2, 28, 14, 48}, {80, 1, 1, 48}, {{2, 2}, {0, 0}, {1, 1}, 1}),    // ... and its shortcut
      make({2, 17, 16, 300}, {70, 1, 1, 300}, {{1, 1}, {0, 0}, {1, 1}, 1}),  // chunks of inputs
      make({1, 14, 28, 36}, {40, 3, 3, 36}, {{1, 1}, {1, 1}, {1, 1}, 1}),
      make({2, 14, 14, 64}, {64, 3, 3, 4}, {{1, 1}, {1, 1}, {1, 1}, 16}),     // ResNeXt's
      make({2, 15, 14, 40}, {40, 3, 3, 1}, {{2, 2}, {1, 1}, {1, 1}, 40}),     // MobileNet's
      make({2, 30, 33, 150}, {150, 5, 5, 1}, {{1, 1}, {2, 2}, {1, 1}, 150}),  // ... many channels,
      make({2, 18, 17, 16}, {16, 7, 7, 1}, {{1, 1}, {9, 9}, {3, 3}, 16}),  // ... all of it border
      make({2, 9, 40, 20}, {20, 3, 3, 1}, {{1, 1}, {1, 1}, {1, 1}, 20}),   // ... the largest tiles,
      make({2, 9, 62, 20}, {20, 3, 3, 1}, {{2, 2}, {1, 1}, {1, 1}, 20}),   // ... of stride 2,
      make({8, 56, 9, 8}, {8, 3, 3, 1}, {{1, 1}, {1, 1}, {1, 1}, 8}),      // ... the tallest bands
      make({1, 9, 9, 3}, {3, 3, 3, 1}, {{1, 1}, {1, 1}, {1, 1}, 3}),
      make({1, 6, 5, 240}, {304, 3, 3, 240}, {{1, 1}, {1, 1}, {1, 1}, 1}),  // large for Winograd's
      make({1, 97, 48, 8}, {16, 1, 1, 8}, {{1, 1}, {0, 0}, {1, 1}, 1}),     // more than a cache
  };
}

/// All of the above.
inline std::vector<Conv2dShape> conv2d_shapes(std::uint64_t random_ones) {
  std::vector<Conv2dShape> shapes = notable_conv2d_shapes();
  for (std::uint64_t seed = 0; seed < random_ones; ++seed) {
    shapes.push_back(random_conv2d_shape(seed));
  }
  return shapes;
}

/// The steps of an epilogue; bit i of `choice` decides on step i.
template <typename T>
struct EpilogueCase {
  Vector<T> bias, residual, mask, mean, slope, shift;
  bool relu, in_place, keep_y;
  mutable Vector<T> y{};  ///< what is normalised, if it is kept

  EpilogueCase(std::int64_t count, std::int64_t channels, std::uint64_t choice)
      : bias(random_values<T>((choice & 1) ? channels : 0, choice + 100)),
        residual(random_values<T>((choice & 2) ? count : 0, choice + 200)),
        mask(random_values<T>((choice & 4) ? count : 0, choice + 300)),
        mean(random_values<T>((choice & 32) ? channels : 0, choice + 400)),
        slope(random_values<T>((choice & 32) ? channels : 0, choice + 500)),
        shift(random_values<T>((choice & 32) ? channels : 0, choice + 600)),
        relu((choice & 8) != 0),
        in_place((choice & 16) != 0 && !residual.empty() && mean.empty()),
        keep_y((choice & 16) != 0 && !mean.empty()) {}

  /// The epilogue for an output at `out`, to which the residual is copied first if it is to be
  /// that output.
  kernels::Conv2dEpilogue<T> prepare(Vector<T>& out) const {
    if (in_place) out = residual;
    kernels::Conv2dEpilogue<T> epilogue;
    epilogue.bias = bias.empty() ? nullptr : bias.data();
    epilogue.residual = in_place ? out.data() : (residual.empty() ? nullptr : residual.data());
    epilogue.mask = mask.empty() ? nullptr : mask.data();
    epilogue.relu = relu;
    if (!mean.empty()) epilogue.norm = {nullptr, mean.data(), slope.data(), shift.data()};
    if (keep_y) {
      y.assign(out.size(), std::numeric_limits<T>::quiet_NaN());
      epilogue.norm.y = y.data();
    }
    return epilogue;
  }
};
inline constexpr std::uint64_t kEpilogues = 64;

}  // namespace attune::test
