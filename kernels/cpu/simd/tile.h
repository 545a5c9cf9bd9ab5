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

/// sum[p][v] += x[p * kStride + offset of the step] * filter[step][v], over all steps of all runs.
template <int kStride, int kPixels, int kVectors, typename T>
ATTUNE_INLINE void multiply_tile(Vector<T> (&sum)[kPixels][kVectors], const T* x, const T* filter,
                                 const Run* runs, std::int64_t run_count) {
  for (const Run* run = runs; run != runs + run_count; ++run) {
    const T* in = x + run->offset;
    const T* const end = in + run->length;
    for (; in != end; ++in, filter += kVectors * kLanes<T>) {
      Vector<T> w[kVectors];
      unroll<kVectors>([&](auto v) { w[v] = load(filter + v * kLanes<T>); });
      unroll<kPixels>(
          [&](auto p) { unroll<kVectors>([&](auto v) { sum[p][v] += in[p * kStride] * w[v]; }); });
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

/// The epilogue of one scalar or one vector, whose operands `get` loads. A NaN passes the ReLU.
template <typename V, typename T, typename Load>
ATTUNE_INLINE V finish(V value, const Conv2dEpilogue<T>& epilogue, std::int64_t channel,
                       std::int64_t element, const Load& get) {
  const V zero{};
  if (epilogue.bias) value += get(epilogue.bias + channel);
  if (epilogue.residual) value += get(epilogue.residual + element);
  if (epilogue.relu) value = value < zero ? zero : value;
  if (epilogue.mask) value = get(epilogue.mask + element) > zero ? value : zero;
  return value;
}

template <int kPixels, int kVectors, typename T>
ATTUNE_INLINE void store_tile(const Vector<T> (&sum)[kPixels][kVectors], const TileOutput<T>& out) {
  constexpr int kWidth = kVectors * kLanes<T>;
  if (out.channels >= kWidth) {
    unroll<kPixels>([&](auto p) {
      unroll<kVectors>([&](auto v) {
        const std::int64_t element = p * out.pixel_stride + v * kLanes<T>;
        store(out.y + element, finish(sum[p][v], out.epilogue, v * kLanes<T>, element,
                                      [](const T* from) { return load(from); }));
      });
    });
    return;
  }
  // The last channels do not fill the vectors: via memory, one by one.
  T sums[kPixels * kWidth];
  unroll<kPixels>([&](auto p) {
    unroll<kVectors>([&](auto v) { store(sums + p * kWidth + v * kLanes<T>, sum[p][v]); });
  });
  for (int p = 0; p < kPixels; ++p) {
    for (std::int64_t c = 0; c < out.channels; ++c) {
      const std::int64_t element = p * out.pixel_stride + c;
      out.y[element] = finish(sums[p * kWidth + c], out.epilogue, c, element,
                              [](const T* from) { return *from; });
    }
  }
}

/// A row of `pixels` neighbouring outputs, in tiles as large as the registers allow and the row
/// divides into. What a pixel gets does not depend on the tile it falls into.
template <int kStride, int kVectors, typename T>
void multiply_row(const T* x, const T* filter, const Run* runs, std::int64_t run_count,
                  TileOutput<T> out, std::int64_t pixels) {
  const auto tile = [&]<int kPixels>(std::integral_constant<int, kPixels>)
      __attribute__((always_inline)) {
    Vector<T> sum[kPixels][kVectors] = {};
    multiply_tile<kStride>(sum, x, filter, runs, run_count);
    store_tile(sum, out);
    x += kPixels * kStride;
    out = out.moved(kPixels * out.pixel_stride);
    pixels -= kPixels;
  };
  const auto tiles_of = [&]<int kPixels>(std::integral_constant<int, kPixels> size)
      __attribute__((always_inline)) {
    while (pixels >= kPixels) tile(size);
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

/// dw[i][v] += sum over rows and columns of x[row][column * kStride + i] * dy[row][column][v]
template <int kStride, int kInputs, int kVectors, typename T>
ATTUNE_INLINE void multiply_weight_tile(T* dw, const T* x, std::int64_t x_row, const T* dy,
                                        std::int64_t dy_row, std::int64_t dy_pixel,
                                        std::int64_t rows, std::int64_t columns) {
  constexpr int kWidth = kVectors * kLanes<T>;
  Vector<T> sum[kInputs][kVectors];
  unroll<kInputs>([&](auto i) {
    unroll<kVectors>([&](auto v) { sum[i][v] = load(dw + i * kWidth + v * kLanes<T>); });
  });
  for (std::int64_t row = 0; row < rows; ++row, x += x_row, dy += dy_row) {
    const T* in = x;
    const T* out = dy;
    for (std::int64_t q = 0; q < columns; ++q, in += kStride, out += dy_pixel) {
      Vector<T> gradient[kVectors];
      unroll<kVectors>([&](auto v) { gradient[v] = load(out + v * kLanes<T>); });
      unroll<kInputs>(
          [&](auto i) { unroll<kVectors>([&](auto v) { sum[i][v] += in[i] * gradient[v]; }); });
    }
  }
  unroll<kInputs>([&](auto i) {
    unroll<kVectors>([&](auto v) { store(dw + i * kWidth + v * kLanes<T>, sum[i][v]); });
  });
}

/// Most inputs in a tile of multiply_weight_tile.
template <int kVectors>
inline constexpr int kMaxInputs = (kVectorRegisters == 32 ? 16 : 12) / kVectors;

/// The same for any number of inputs, split evenly.
template <int kStride, int kVectors, typename T>
void multiply_weight_rows(T* dw, std::int64_t inputs, const T* x, std::int64_t x_row, const T* dy,
                          std::int64_t dy_row, std::int64_t dy_pixel, std::int64_t rows,
                          std::int64_t columns) {
  constexpr int kMax = kMaxInputs<kVectors>;
  std::int64_t tiles = (inputs + kMax - 1) / kMax;
  for (std::int64_t first = 0; first < inputs; --tiles) {
    const std::int64_t size = (inputs - first) / tiles;
    unroll<kMax>([&](auto i) {
      constexpr int kInputs = i + 1;
      if (size == kInputs) {
        multiply_weight_tile<kStride, kInputs, kVectors>(dw + first * kVectors * kLanes<T>,
                                                         x + first, x_row, dy, dy_row, dy_pixel,
                                                         rows, columns);
      }
    });
    first += size;
  }
}

}  // namespace attune::kernels::cpu::ATTUNE_ISA
