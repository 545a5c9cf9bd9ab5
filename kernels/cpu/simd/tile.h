#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/conv2d_plan.h"
#include "attune/kernels/cpu/simd/vector.h"

// The two micro-kernels that all convolution passes are made of. Both keep a tile of sums in
// registers, [pixels or inputs][vectors of output channels], and do nothing but load, broadcast
// and multiply-add until it is complete.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// Zeroes a tile; `= {}` would do so in memory.
template <typename V, int kRows, int kColumns>
ATTUNE_INLINE void clear(V (&tile)[kRows][kColumns]) {
  unroll<kRows>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kColumns>([&](auto j) ATTUNE_INLINE_LAMBDA { tile[i][j] = V{}; });
  });
}

/// Stores a tile without gaps.
template <typename T, typename V, int kRows, int kColumns>
ATTUNE_INLINE void store_tile(T* to, const V (&tile)[kRows][kColumns]) {
  unroll<kRows>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kColumns>([&](auto j) ATTUNE_INLINE_LAMBDA {
      store(to + (i * kColumns + j) * kLanes<T>, tile[i][j]);
    });
  });
}

/// sum[p][v] += x[p * stride] * filter[v]: one step, which is one input channel of one tap.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void multiply_step(Vector<T> (&sum)[kPixels][kVectors], const T* x,
                                 std::int64_t stride, const T* filter) {
  Vector<T> w[kVectors];
  unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { w[v] = load(filter + v * kLanes<T>); });
  unroll<kPixels>([&](auto p) ATTUNE_INLINE_LAMBDA {
    unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { sum[p][v] += x[p * stride] * w[v]; });
  });
}

/// `count` steps. Four at a time, or else the loop itself would take an eighth of the time.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void multiply_steps(Vector<T> (&sum)[kPixels][kVectors], const T* x,
                                  std::int64_t stride, const T* filter, std::int64_t count) {
  constexpr int kWidth = kVectors * kLanes<T>;
  const T* const end = x + count;
  for (; end - x >= 4; x += 4, filter += 4 * kWidth) {
    unroll<4>([&](auto step) ATTUNE_INLINE_LAMBDA {
      multiply_step(sum, x + step, stride, filter + step * kWidth);
    });
  }
  for (; x != end; ++x, filter += kWidth) multiply_step(sum, x, stride, filter);
}

/// All steps of all runs.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void multiply_tile(Vector<T> (&sum)[kPixels][kVectors], const T* x,
                                 std::int64_t stride, const T* filter, const Run* runs,
                                 std::int64_t run_count) {
  for (const Run* run = runs; run != runs + run_count; ++run) {
    multiply_steps(sum, x + run->offset, stride, filter, run->length);
    filter += run->length * kVectors * kLanes<T>;
  }
}

// The steps of an epilogue, for one scalar or one vector. A NaN passes the ReLU.
template <typename V>
ATTUNE_INLINE V relu(V value) {
  const V zero{};
  return value < zero ? zero : value;
}
template <typename V>
ATTUNE_INLINE V select_positive(V mask, V value) {
  const V zero{};
  return mask > zero ? value : zero;
}

/// An array of more bytes than this is not in the L2 cache any more when the next operation begins:
/// fetching it ahead is worth the instructions.
inline constexpr std::int64_t kFarBytes = 256 << 10;

/// Where tiles go: neighbouring pixels `pixel_stride` elements apart, of which `channels` exist.
/// Like `y`, what the epilogue points to belongs to the first of these channels, and what has the
/// output's shape to the same pixel as y. Sums go on from `sums`, unless null.
template <typename T>
struct TileOutput {
  T* y = nullptr;
  std::int64_t pixel_stride = 0;
  std::int64_t channels = 0;
  Conv2dEpilogue<T> epilogue;
  const T* sums = nullptr;
  bool is_far = false;  ///< more than kFarBytes

  /// The same pixels, from another channel on.
  TileOutput from_channel(std::int64_t channel) const {
    TileOutput there = *this;
    there.y += channel;
    there.channels -= channel;
    Conv2dEpilogue<T>& e = there.epilogue;
    if (e.norm.y) e.norm.y += channel;
    for (const T** pointer :
         {&e.bias, &e.norm.mean, &e.norm.slope, &e.norm.shift, &e.residual, &e.mask, &there.sums}) {
      if (*pointer) *pointer += channel;
    }
    return there;
  }
};

/// Applies an epilogue to `v`, a scalar or a vector, which is element `i` of the output and belongs
/// to channel `c`.
template <typename V, typename T>
ATTUNE_INLINE V apply_epilogue(const Conv2dEpilogue<T>& e, V v, std::int64_t i, std::int64_t c) {
  if (e.bias) v += load_as<V>(e.bias + c);
  if (e.norm) {
    if (e.norm.y) store_past_caches(e.norm.y + i, v);
    // The difference first: v * slope + (shift - mean * slope) loses digits where |mean| >> sigma.
    v = (v - load_as<V>(e.norm.mean + c)) * load_as<V>(e.norm.slope + c) +
        load_as<V>(e.norm.shift + c);
  }
  if (e.residual) v += load_as<V>(e.residual + i);
  if (e.relu) v = relu(v);
  if (e.mask) v = select_positive(load_as<V>(e.mask + i), v);
  return v;
}

/// The same for many vectors, each step being decided on once for all of them: for_each(body) calls
/// body(vector, i, c) for each.
template <typename T, typename ForEach>
ATTUNE_INLINE void apply_epilogue_to_all(const Conv2dEpilogue<T>& e, const ForEach& for_each) {
  if (e.bias) {
    for_each([&](auto& v, auto, auto c) ATTUNE_INLINE_LAMBDA { v += load(e.bias + c); });
  }
  if (e.norm) {
    if (e.norm.y) {  // which waits for the backward pass
      for_each([&](auto& v, auto i, auto)
                   ATTUNE_INLINE_LAMBDA { store_past_caches(e.norm.y + i, v); });
    }
    for_each([&](auto& v, auto, auto c) ATTUNE_INLINE_LAMBDA {
      v = (v - load(e.norm.mean + c)) * load(e.norm.slope + c) + load(e.norm.shift + c);
    });
  }
  if (e.residual) {
    for_each([&](auto& v, auto i, auto) ATTUNE_INLINE_LAMBDA { v += load(e.residual + i); });
  }
  if (e.relu) for_each([&](auto& v, auto, auto) ATTUNE_INLINE_LAMBDA { v = relu(v); });
  if (e.mask) {
    for_each([&](auto& v, auto i, auto)
                 ATTUNE_INLINE_LAMBDA { v = select_positive(load(e.mask + i), v); });
  }
}

/// Finishes `pixels` neighbouring pixels of a tile, values[pixel][kVectors * lanes], and stores
/// them `at` elements into `out`, where channel `first` of the output is.
template <int kVectors, typename T>
[[gnu::noinline]] void finish_tile(const T* values, std::int64_t pixels, const TileOutput<T>& out,
                                   std::int64_t at, std::int64_t first) {
  constexpr int kWidth = kVectors * kLanes<T>;
  for (std::int64_t p = 0; p < pixels; ++p, values += kWidth, at += out.pixel_stride) {
    const auto finish = [&](auto v, std::int64_t c) ATTUNE_INLINE_LAMBDA {
      if (out.sums) v += load_as<decltype(v)>(out.sums + at + c);
      store(out.y + at + c, apply_epilogue(out.epilogue, v, at + c, first + c));
    };
    if (out.channels - first >= kWidth) {
      unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA {
        finish(load(values + v * kLanes<T>), v * kLanes<T>);
      });
    } else {
      for (std::int64_t c = 0; c < out.channels - first; ++c) finish(values[c], c);
    }
  }
}

/// Finishes tile[p][v], of channels `first` and on, and stores it `at` elements into `out`: in
/// registers if its vectors are full and the epilogue leaves any free, else via memory.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void finish_tile(Vector<T> (&tile)[kPixels][kVectors], const TileOutput<T>& out,
                               std::int64_t at, std::int64_t first = 0) {
  constexpr int kWidth = kVectors * kLanes<T>;
  if (out.channels - first < kWidth || out.epilogue.norm) {
    alignas(kVectorBytes) T values[kPixels * kWidth];
    store_tile(values, tile);
    finish_tile<kVectors>(values, kPixels, out, at, first);
    return;
  }
  // Copies, since a vector that is stored might, for all the compiler knows, change `out`.
  const Conv2dEpilogue<T> e = out.epilogue;
  const std::int64_t stride = out.pixel_stride;
  T* const y = out.y;
  const T* const sums = out.sums;
  const auto for_each = [&](const auto& body) ATTUNE_INLINE_LAMBDA {
    unroll<kPixels>([&](auto p) ATTUNE_INLINE_LAMBDA {
      unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA {
        body(tile[p][v], at + p * stride + v * kLanes<T>, first + v * kLanes<T>);
      });
    });
  };
  if (sums) for_each([&](auto& v, auto i, auto) ATTUNE_INLINE_LAMBDA { v += load(sums + i); });
  apply_epilogue_to_all(e, for_each);
  for_each([&](auto& v, auto i, auto) ATTUNE_INLINE_LAMBDA { store(y + i, v); });
}

/// Fetches the cache lines of neighbouring pixels, kSize elements of each.
template <bool kWrite, int kPixels, int kSize, typename T>
ATTUNE_INLINE void prefetch_pixels(const T* first, std::int64_t stride) {
  constexpr int kLine = 64 / sizeof(T);
  for (int p = 0; p < kPixels; ++p) {
    for (int i = 0; i < kSize; i += kLine) __builtin_prefetch(first + p * stride + i, kWrite, 3);
  }
}

/// Fetches what finish_tile will write and read, to arrive while the tile is being multiplied.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void prefetch_output(const TileOutput<T>& out, std::int64_t at) {
  constexpr int kWidth = kVectors * kLanes<T>;
  const Conv2dEpilogue<T>& e = out.epilogue;
  prefetch_pixels<true, kPixels, kWidth>(out.y + at, out.pixel_stride);
  if (e.norm.y && !kFillsLines)
    prefetch_pixels<true, kPixels, kWidth>(e.norm.y + at, out.pixel_stride);
  for (const T* read : {e.residual, e.mask}) {
    if (read) prefetch_pixels<false, kPixels, kWidth>(read + at, out.pixel_stride);
  }
}

/// Tiles of kPixels outputs, from pixel `first` on until fewer than that are left in a row of
/// `pixels` that is `at` elements into `out`; returns the first pixel that is left. A function for
/// each size: compilers take very long over one that has them all.
template <int kPixels, int kVectors, typename T>
[[gnu::noinline]] std::int64_t multiply_tiles(const T* x, std::int64_t stride, const T* filter,
                                              const Run* runs, std::int64_t run_count,
                                              const TileOutput<T>& out, std::int64_t at,
                                              std::int64_t first, std::int64_t pixels) {
  for (; first + kPixels <= pixels; first += kPixels) {
    if (out.is_far) {
      prefetch_output<kPixels, kVectors>(out, at + first * out.pixel_stride);
    }
    Vector<T> sum[kPixels][kVectors];
    clear(sum);
    multiply_tile(sum, x + first * stride, stride, filter, runs, run_count);
    finish_tile(sum, out, at + first * out.pixel_stride);
  }
  return first;
}

/// Cuts `count` pixels into tiles as large as the registers allow and the count divides into:
/// calls done = tiles_of<kPixels>(done) for one size after the other, while there are that many.
template <int kVectors, typename TilesOf>
ATTUNE_INLINE void for_each_tile_size(std::int64_t count, const TilesOf& tiles_of) {
  std::int64_t done = 0;
  const auto size = [&]<int kPixels>(std::integral_constant<int, kPixels>) ATTUNE_INLINE_LAMBDA {
    if (count - done >= kPixels) done = tiles_of.template operator()<kPixels>(done);
  };
  if constexpr (kVectors == 1) {
    if constexpr (kVectorRegisters == 32) size(std::integral_constant<int, 16>{});
    size(std::integral_constant<int, 8>{});
  } else if constexpr (kVectorRegisters == 32) {
    if (count % 14 == 0) size(std::integral_constant<int, 14>{});  // 14, 28, 56, 112 wide
    size(std::integral_constant<int, 8>{});
    size(std::integral_constant<int, 7>{});
  } else {
    if (count % 6 == 0) size(std::integral_constant<int, 6>{});
  }
  size(std::integral_constant<int, 4>{});
  size(std::integral_constant<int, 2>{});
  size(std::integral_constant<int, 1>{});
}

/// A row of `pixels` neighbouring outputs, `at` elements into `out`, whose inputs are `stride`
/// elements apart. What a pixel gets does not depend on the tile it falls into.
template <int kVectors, typename T>
void multiply_row(const T* x, std::int64_t stride, const T* filter, const Run* runs,
                  std::int64_t run_count, const TileOutput<T>& out, std::int64_t at,
                  std::int64_t pixels) {
  for_each_tile_size<kVectors>(pixels, [&]<int kPixels>(std::int64_t first) {
    return multiply_tiles<kPixels, kVectors>(x, stride, filter, runs, run_count, out, at, first,
                                             pixels);
  });
}

/// sum[i][v] += x[i] * dy[v]: what one pixel adds to the gradient of a filter.
template <int kInputs, int kVectors, typename T>
ATTUNE_INLINE void multiply_weight_step(Vector<T> (&sum)[kInputs][kVectors], const T* x,
                                        const T* dy) {
  Vector<T> gradient[kVectors];
  unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { gradient[v] = load(dy + v * kLanes<T>); });
  unroll<kInputs>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { sum[i][v] += x[i] * gradient[v]; });
  });
}

/// Rows of pixels in memory, for the sums over them: elements between rows, and between neighbours.
struct PixelSteps {
  std::int64_t row = 0, pixel = 0;
};

/// `count` pixels, `x_pixel` and `dy_pixel` elements apart.
template <int kInputs, int kVectors, typename T>
ATTUNE_INLINE void multiply_weight_steps(Vector<T> (&sum)[kInputs][kVectors], const T* x,
                                         std::int64_t x_pixel, const T* dy, std::int64_t dy_pixel,
                                         std::int64_t count) {
  for (; count >= 4; count -= 4, x += 4 * x_pixel, dy += 4 * dy_pixel) {
    unroll<4>([&](auto q) ATTUNE_INLINE_LAMBDA {
      multiply_weight_step(sum, x + q * x_pixel, dy + q * dy_pixel);
    });
  }
  for (; count > 0; --count, x += x_pixel, dy += dy_pixel) multiply_weight_step(sum, x, dy);
}

/// Loads what store_tile has stored.
template <typename T, typename V, int kRows, int kColumns>
ATTUNE_INLINE void load_tile(V (&tile)[kRows][kColumns], const T* from) {
  unroll<kRows>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kColumns>([&](auto j) ATTUNE_INLINE_LAMBDA {
      tile[i][j] = load(from + (i * kColumns + j) * kLanes<T>);
    });
  });
}

/// dw[i][v] += sum over rows and columns of x[row][column][i] * dy[row][column][v]
template <int kInputs, int kVectors, typename T>
[[gnu::noinline]] void multiply_weight_tile(T* dw, const T* x, PixelSteps x_steps, const T* dy,
                                            PixelSteps dy_steps, std::int64_t rows,
                                            std::int64_t columns) {
  Vector<T> sum[kInputs][kVectors];
  load_tile(sum, dw);
  for (std::int64_t row = 0; row < rows; ++row, x += x_steps.row, dy += dy_steps.row) {
    multiply_weight_steps(sum, x, x_steps.pixel, dy, dy_steps.pixel, columns);
  }
  store_tile(dw, sum);
}

/// Most inputs in a tile of multiply_weight_tile.
template <int kVectors>
inline constexpr int kMaxInputs = (kVectorRegisters == 32 ? 16 : 12) / kVectors;

/// The same for any number of inputs, split evenly.
template <int kVectors, typename T>
void multiply_weight_rows(T* dw, std::int64_t inputs, const T* x, PixelSteps x_steps, const T* dy,
                          PixelSteps dy_steps, std::int64_t rows, std::int64_t columns) {
  constexpr int kMax = kMaxInputs<kVectors>;
  std::int64_t tiles = (inputs + kMax - 1) / kMax;
  for (std::int64_t first = 0; first < inputs; --tiles) {
    const std::int64_t size = (inputs - first) / tiles;
    unroll<kMax>([&](auto i) ATTUNE_INLINE_LAMBDA {
      constexpr int kInputs = i + 1;
      if (size == kInputs) {
        multiply_weight_tile<kInputs, kVectors>(dw + first * kVectors * kLanes<T>, x + first,
                                                x_steps, dy, dy_steps, rows, columns);
      }
    });
    first += size;
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
