#pragma once

#include "attune/kernels/conv2d.h"
#include "attune/kernels/cpu/conv2d_plan.h"
#include "attune/kernels/cpu/simd/vector.h"

// The two micro-kernels that all convolution passes are made of. Both keep a tile of sums in
// registers, [pixels or inputs][vectors of output channels], and do nothing but load, broadcast
// and multiply-add until it is complete.
namespace attune::kernels::cpu::ATTUNE_ISA {

/// Most vectors of output channels in a tile. Two make each broadcast input serve twice.
inline constexpr int kMaxVectors = 2;

/// Zeroes a tile; `= {}` would do so in memory.
template <typename V, int kRows, int kColumns>
ATTUNE_INLINE void clear(V (&tile)[kRows][kColumns]) {
  unroll<kRows>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kColumns>([&](auto j) ATTUNE_INLINE_LAMBDA { tile[i][j] = V{}; });
  });
}

/// sum[p][v] += x[p * kStride + offset of the step] * filter[step][v], over all steps of all runs.
template <int kStride, int kPixels, int kVectors, typename T>
ATTUNE_INLINE void multiply_tile(Vector<T> (&sum)[kPixels][kVectors], const T* x, const T* filter,
                                 const Run* runs, std::int64_t run_count) {
  for (const Run* run = runs; run != runs + run_count; ++run) {
    const T* in = x + run->offset;
    const T* const end = in + run->length;
    for (; in != end; ++in, filter += kVectors * kLanes<T>) {
      Vector<T> w[kVectors];
      unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { w[v] = load(filter + v * kLanes<T>); });
      unroll<kPixels>([&](auto p) {
        unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { sum[p][v] += in[p * kStride] * w[v]; });
      });
    }
  }
}

/// Where tiles go: neighbouring pixels `pixel_stride` elements apart, of which `channels` exist.
/// Like `y`, what the epilogue points to belongs to the first of these channels, and residual and
/// mask to the same pixel as y.
template <typename T>
struct TileOutput {
  T* y = nullptr;
  std::int64_t pixel_stride = 0;
  std::int64_t channels = 0;
  Conv2dEpilogue<T> epilogue;

  /// The same, `offset` elements further on, but in the same channels.
  ATTUNE_INLINE TileOutput moved(std::int64_t offset) const {
    TileOutput there = *this;
    there.y += offset;
    if (epilogue.residual) there.epilogue.residual += offset;
    if (epilogue.mask) there.epilogue.mask += offset;
    return there;
  }
};

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

/// Finishes and stores tile[p][v], neighbouring pixels and neighbouring vectors of channels, `at`
/// elements into `out`. Each step of the epilogue is decided on once for the whole tile.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void store_whole_tile(Vector<T> (&tile)[kPixels][kVectors], const TileOutput<T>& out,
                                    std::int64_t at) {
  // Copies, since a vector that is stored might, for all the compiler knows, change `out`.
  const Conv2dEpilogue<T> e = out.epilogue;
  const std::int64_t stride = out.pixel_stride;
  T* const y = out.y;
  const auto for_each = [&](const auto& body) ATTUNE_INLINE_LAMBDA {
    unroll<kPixels>([&](auto p) ATTUNE_INLINE_LAMBDA {
      unroll<kVectors>(
          [&](auto v) { body(tile[p][v], at + p * stride + v * kLanes<T>, v * kLanes<T>); });
    });
  };
  if (e.bias)
    for_each([&](auto& value, auto, auto channel)
                 ATTUNE_INLINE_LAMBDA { value += load(e.bias + channel); });
  if (e.residual)
    for_each([&](auto& value, auto i, auto)
                 ATTUNE_INLINE_LAMBDA { value += load(e.residual + i); });
  if (e.relu) for_each([&](auto& value, auto, auto) ATTUNE_INLINE_LAMBDA { value = relu(value); });
  if (e.mask) {
    for_each([&](auto& value, auto i, auto)
                 ATTUNE_INLINE_LAMBDA { value = select_positive(load(e.mask + i), value); });
  }
  for_each([&](auto& value, auto i, auto) ATTUNE_INLINE_LAMBDA { store(y + i, value); });
}

/// The same where the last channels do not fill the vectors: via memory, one by one.
template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void store_partial_tile(const Vector<T> (&tile)[kPixels][kVectors],
                                      const TileOutput<T>& out, std::int64_t at) {
  constexpr int kWidth = kVectors * kLanes<T>;
  T values[kPixels * kWidth];
  unroll<kPixels>([&](auto p) ATTUNE_INLINE_LAMBDA {
    unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA {
      store(values + p * kWidth + v * kLanes<T>, tile[p][v]);
    });
  });
  const Conv2dEpilogue<T>& e = out.epilogue;
  for (int p = 0; p < kPixels; ++p) {
    for (std::int64_t c = 0; c < out.channels; ++c) {
      const std::int64_t i = at + p * out.pixel_stride + c;
      T value = values[p * kWidth + c];
      if (e.bias) value += e.bias[c];
      if (e.residual) value += e.residual[i];
      if (e.relu) value = relu(value);
      if (e.mask) value = select_positive(e.mask[i], value);
      out.y[i] = value;
    }
  }
}

template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void store_tile(Vector<T> (&tile)[kPixels][kVectors], const TileOutput<T>& out,
                              std::int64_t at) {
  if (out.channels >= kVectors * kLanes<T>) {
    store_whole_tile(tile, out, at);
  } else {
    store_partial_tile(tile, out, at);
  }
}

/// Tiles of kPixels outputs, from pixel `first` on until fewer than that are left in a row of
/// `pixels`; returns the first pixel that is left. A function for each size: compilers take very
/// long over one that has them all.
template <int kStride, int kPixels, int kVectors, typename T>
[[gnu::noinline]] std::int64_t multiply_tiles(const T* x, const T* filter, const Run* runs,
                                              std::int64_t run_count, const TileOutput<T>& out,
                                              std::int64_t first, std::int64_t pixels) {
  for (; first + kPixels <= pixels; first += kPixels) {
    Vector<T> sum[kPixels][kVectors];
    clear(sum);
    multiply_tile<kStride>(sum, x + first * kStride, filter, runs, run_count);
    store_tile(sum, out, first * out.pixel_stride);
  }
  return first;
}

/// A row of `pixels` neighbouring outputs, in tiles as large as the registers allow and the row
/// divides into. What a pixel gets does not depend on the tile it falls into.
template <int kStride, int kVectors, typename T>
void multiply_row(const T* x, const T* filter, const Run* runs, std::int64_t run_count,
                  const TileOutput<T>& out, std::int64_t pixels) {
  std::int64_t done = 0;
  const auto tiles_of = [&]<int kPixels>(std::integral_constant<int, kPixels>) {
    if (pixels - done < kPixels) return;
    done =
        multiply_tiles<kStride, kPixels, kVectors>(x, filter, runs, run_count, out, done, pixels);
  };
  if constexpr (kVectors == 1) {
    if constexpr (kVectorRegisters == 32) tiles_of(std::integral_constant<int, 16>{});
    tiles_of(std::integral_constant<int, 8>{});
  } else if constexpr (kVectorRegisters == 32) {
    if (pixels % 14 == 0) tiles_of(std::integral_constant<int, 14>{});  // 14, 28, 56, 112 wide
    tiles_of(std::integral_constant<int, 8>{});
    tiles_of(std::integral_constant<int, 7>{});
  } else {
    if (pixels % 6 == 0) tiles_of(std::integral_constant<int, 6>{});
  }
  tiles_of(std::integral_constant<int, 4>{});
  tiles_of(std::integral_constant<int, 2>{});
  tiles_of(std::integral_constant<int, 1>{});
}

/// dw[i][v] += sum over rows and columns of x[row][column * kStride + i] * dy[row][column][v], or =
/// if dw holds nothing yet
template <int kStride, int kInputs, int kVectors, typename T>
[[gnu::noinline]] void multiply_weight_tile(T* dw, const T* x, std::int64_t x_row, const T* dy,
                                            std::int64_t dy_row, std::int64_t dy_pixel,
                                            std::int64_t rows, std::int64_t columns, bool fresh) {
  constexpr int kWidth = kVectors * kLanes<T>;
  Vector<T> sum[kInputs][kVectors];
  clear(sum);
  if (!fresh) {
    unroll<kInputs>([&](auto i) ATTUNE_INLINE_LAMBDA {
      unroll<kVectors>(
          [&](auto v) ATTUNE_INLINE_LAMBDA { sum[i][v] = load(dw + i * kWidth + v * kLanes<T>); });
    });
  }
  for (std::int64_t row = 0; row < rows; ++row, x += x_row, dy += dy_row) {
    const T* in = x;
    const T* out = dy;
    for (std::int64_t q = 0; q < columns; ++q, in += kStride, out += dy_pixel) {
      Vector<T> gradient[kVectors];
      unroll<kVectors>([&](auto v)
                           ATTUNE_INLINE_LAMBDA { gradient[v] = load(out + v * kLanes<T>); });
      unroll<kInputs>([&](auto i) {
        unroll<kVectors>([&](auto v) ATTUNE_INLINE_LAMBDA { sum[i][v] += in[i] * gradient[v]; });
      });
    }
  }
  unroll<kInputs>([&](auto i) ATTUNE_INLINE_LAMBDA {
    unroll<kVectors>(
        [&](auto v) ATTUNE_INLINE_LAMBDA { store(dw + i * kWidth + v * kLanes<T>, sum[i][v]); });
  });
}

/// Most inputs in a tile of multiply_weight_tile.
template <int kVectors>
inline constexpr int kMaxInputs = (kVectorRegisters == 32 ? 16 : 12) / kVectors;

/// The same for any number of inputs, split evenly.
template <int kStride, int kVectors, typename T>
void multiply_weight_rows(T* dw, std::int64_t inputs, const T* x, std::int64_t x_row, const T* dy,
                          std::int64_t dy_row, std::int64_t dy_pixel, std::int64_t rows,
                          std::int64_t columns, bool fresh = false) {
  constexpr int kMax = kMaxInputs<kVectors>;
  std::int64_t tiles = (inputs + kMax - 1) / kMax;
  for (std::int64_t first = 0; first < inputs; --tiles) {
    const std::int64_t size = (inputs - first) / tiles;
    unroll<kMax>([&](auto i) ATTUNE_INLINE_LAMBDA {
      constexpr int kInputs = i + 1;
      if (size == kInputs) {
        multiply_weight_tile<kStride, kInputs, kVectors>(dw + first * kVectors * kLanes<T>,
                                                         x + first, x_row, dy, dy_row, dy_pixel,
                                                         rows, columns, fresh);
      }
    });
    first += size;
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
