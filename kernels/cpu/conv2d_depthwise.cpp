#include "attune/kernels/cpu/conv2d_depthwise.h"

#include <algorithm>

#include "attune/kernels/cpu/conv2d_epilogue.h"
#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {
namespace {

/// y[c] += a[c] * b[c]
template <typename T>
void multiply_add(T* y, const T* a, const T* b, std::int64_t channels) {
#pragma omp simd
  for (std::int64_t c = 0; c < channels; ++c) y[c] += a[c] * b[c];
}

/// The filter [C, R, S] as [R, S, C], so that the channels of a tap are neighbours.
template <typename T>
void transpose_filter(T* taps, const T* w, const Conv2dShape& shape) {
  const std::int64_t rs = shape.r * shape.s;
  for (std::int64_t c = 0; c < shape.c; ++c)
    for (std::int64_t t = 0; t < rs; ++t) taps[t * shape.c + c] = w[c * rs + t];
}

/// Calls visit(x offset, y offset, tap offset) for every link between output row (n, p) and input
/// row h = p * stride_h - pad_h + r * dilation_h, all offsets being those of channel 0.
template <typename Visit>
void for_each_link(const Conv2dShape& shape, std::int64_t n, std::int64_t p, std::int64_t r,
                   std::int64_t h, const Visit& visit) {
  const std::int64_t x_row = (n * shape.h + h) * shape.w;
  const std::int64_t y_row = (n * shape.p + p) * shape.q;
  for (std::int64_t q = 0; q < shape.q; ++q)
    for (std::int64_t s = 0; s < shape.s; ++s) {
      const std::int64_t w = q * shape.stride_w - shape.pad_w + s * shape.dilation_w;
      if (w < 0 || w >= shape.w) continue;
      visit((x_row + w) * shape.c, (y_row + q) * shape.c, (r * shape.s + s) * shape.c);
    }
}

}  // namespace

template <typename T>
void conv2d_depthwise_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                              const Conv2dEpilogue<T>& epilogue) {
  const Workspace<T> taps(shape.filter_count());
  transpose_filter(taps.data(), w, shape);

  parallel_for(shape.n * shape.p, [&](std::int64_t row) {
    begin_epilogue(y, row * shape.q, shape.q, shape.k, epilogue);
    const std::int64_t n = row / shape.p, p = row % shape.p;
    for (std::int64_t r = 0; r < shape.r; ++r) {
      const std::int64_t h = p * shape.stride_h - shape.pad_h + r * shape.dilation_h;
      if (h < 0 || h >= shape.h) continue;
      for_each_link(shape, n, p, r, h, [&](std::int64_t ix, std::int64_t iy, std::int64_t tap) {
        multiply_add(y + iy, x + ix, taps.data() + tap, shape.c);
      });
    }
    finish_epilogue(y, row * shape.q, shape.q, shape.k, epilogue);
  });
}

template <typename T>
void conv2d_depthwise_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                                     const Conv2dEpilogue<T>& epilogue) {
  const Workspace<T> taps(shape.filter_count());
  transpose_filter(taps.data(), w, shape);

  parallel_for(shape.n * shape.h, [&](std::int64_t row) {
    begin_epilogue(dx, row * shape.w, shape.w, shape.c, epilogue);
    const std::int64_t n = row / shape.h, h = row % shape.h;
    for (std::int64_t r = 0; r < shape.r; ++r) {
      // The output row that sees input row h through filter row r, if there is one.
      const std::int64_t distance = h + shape.pad_h - r * shape.dilation_h;
      if (distance < 0 || distance % shape.stride_h != 0) continue;
      const std::int64_t p = distance / shape.stride_h;
      if (p >= shape.p) continue;
      for_each_link(shape, n, p, r, h, [&](std::int64_t ix, std::int64_t iy, std::int64_t tap) {
        multiply_add(dx + ix, dy + iy, taps.data() + tap, shape.c);
      });
    }
    finish_epilogue(dx, row * shape.w, shape.w, shape.c, epilogue);
  });
}

template <typename T>
void conv2d_depthwise_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                                      bool accumulate) {
  constexpr std::int64_t kSlices = 16;
  const std::int64_t rows = shape.n * shape.p, count = shape.filter_count();
  const std::int64_t slices = std::min(rows, kSlices);
  const Workspace<T> partials(slices * count);

  parallel_for(slices, [&](std::int64_t slice) {
    T* partial = partials.data() + slice * count;
    std::fill_n(partial, count, T(0));
    const Range range = piece(rows, slices, slice);
    for (std::int64_t row = range.first; row < range.last; ++row) {
      const std::int64_t n = row / shape.p, p = row % shape.p;
      for (std::int64_t r = 0; r < shape.r; ++r) {
        const std::int64_t h = p * shape.stride_h - shape.pad_h + r * shape.dilation_h;
        if (h < 0 || h >= shape.h) continue;
        for_each_link(shape, n, p, r, h, [&](std::int64_t ix, std::int64_t iy, std::int64_t tap) {
          multiply_add(partial + tap, x + ix, dy + iy, shape.c);
        });
      }
    }
  });

  const std::int64_t rs = shape.r * shape.s;
  for (std::int64_t c = 0; c < shape.c; ++c)
    for (std::int64_t t = 0; t < rs; ++t) {
      T sum = accumulate ? dw[c * rs + t] : T(0);
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        sum += partials.data()[slice * count + t * shape.c + c];
      }
      dw[c * rs + t] = sum;
    }
}

template void conv2d_depthwise_forward(float*, const float*, const float*, const Conv2dShape&,
                                       const Conv2dEpilogue<float>&);
template void conv2d_depthwise_forward(double*, const double*, const double*, const Conv2dShape&,
                                       const Conv2dEpilogue<double>&);
template void conv2d_depthwise_backward_input(float*, const float*, const float*,
                                              const Conv2dShape&, const Conv2dEpilogue<float>&);
template void conv2d_depthwise_backward_input(double*, const double*, const double*,
                                              const Conv2dShape&, const Conv2dEpilogue<double>&);
template void conv2d_depthwise_backward_weight(float*, const float*, const float*,
                                               const Conv2dShape&, bool);
template void conv2d_depthwise_backward_weight(double*, const double*, const double*,
                                               const Conv2dShape&, bool);

}  // namespace attune::kernels::cpu
