#include "attune/kernels/cpu/pool.h"

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/cpu/reduce.h"

namespace attune::kernels::cpu {
namespace {

// Part of a window, or of the windows that a pixel is in, along one axis.
struct Span {
  std::int64_t first = 0, last = 0;
};

// The taps of window `i` that lie inside [0, size): tap t reads i * stride - pad + t.
Span taps_inside(std::int64_t i, std::int64_t stride, std::int64_t pad, std::int64_t window,
                 std::int64_t size) {
  const std::int64_t begin = i * stride - pad;
  return {std::max<std::int64_t>(0, -begin), std::min(window, size - begin)};
}

// The windows among [0, count) that read position `i`.
Span windows_over(std::int64_t i, std::int64_t stride, std::int64_t pad, std::int64_t window,
                  std::int64_t count) {
  const std::int64_t reach = i + pad;
  return {reach < window ? 0 : (reach - window) / stride + 1, std::min(count, reach / stride + 1)};
}

// Calls body(y_index, p, q) for every output pixel; y_index is that of its first channel.
template <typename Body>
void for_each_output(const Pool2dShape& s, const Body& body) {
  const std::int64_t work = std::max<std::int64_t>(1, s.q * s.c * s.r * s.s);
  parallel_for_ranges(s.n * s.p, std::max<std::int64_t>(1, kGrain / work), [&](Range rows) {
    for (std::int64_t row = rows.first; row < rows.last; ++row)
      for (std::int64_t q = 0; q < s.q; ++q) body(row / s.p, row % s.p, q, (row * s.q + q) * s.c);
  });
}

// Calls visit(tap, x_index) for the taps of window (p, q) of image n inside the image, in row-major
// order.
template <typename Visit>
void for_each_tap(const Pool2dShape& s, std::int64_t n, std::int64_t p, std::int64_t q,
                  const Visit& visit) {
  const Span rows = taps_inside(p, s.stride_h, s.pad_h, s.r, s.h);
  const Span columns = taps_inside(q, s.stride_w, s.pad_w, s.s, s.w);
  for (std::int64_t r = rows.first; r < rows.last; ++r)
    for (std::int64_t t = columns.first; t < columns.last; ++t) {
      const std::int64_t h = p * s.stride_h - s.pad_h + r, w = q * s.stride_w - s.pad_w + t;
      visit(r * s.s + t, ((n * s.h + h) * s.w + w) * s.c);
    }
}

// dx = (accumulate ? dx : 0) + what add(dx_pixel, tap, y_index) adds for every window that reads
// the pixel. Each pixel of dx gathers from its windows, so that threads never share one.
template <typename T, typename Add>
void gather_windows(T* dx, const Pool2dShape& s, bool accumulate, const Add& add) {
  const std::int64_t work = std::max<std::int64_t>(1, s.w * s.c * s.r * s.s);
  parallel_for_ranges(s.n * s.h, std::max<std::int64_t>(1, kGrain / work), [&](Range rows) {
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      const std::int64_t n = row / s.h, h = row % s.h;
      const Span over_h = windows_over(h, s.stride_h, s.pad_h, s.r, s.p);
      for (std::int64_t w = 0; w < s.w; ++w) {
        T* pixel = dx + (row * s.w + w) * s.c;
        if (!accumulate) std::fill_n(pixel, s.c, T(0));
        const Span over_w = windows_over(w, s.stride_w, s.pad_w, s.s, s.q);
        for (std::int64_t p = over_h.first; p < over_h.last; ++p)
          for (std::int64_t q = over_w.first; q < over_w.last; ++q) {
            const std::int64_t r = h + s.pad_h - p * s.stride_h, t = w + s.pad_w - q * s.stride_w;
            add(pixel, r * s.s + t, ((n * s.p + p) * s.q + q) * s.c);
          }
      }
    }
  });
}

}  // namespace

template <typename T>
void max_pool2d_forward(T* y, std::uint8_t* argmax, const T* x, const Pool2dShape& shape) {
  const std::int64_t channels = shape.c;
  for_each_output(shape, [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t y_index) {
    T* best = y + y_index;
    bool first = true;
    for_each_tap(shape, n, p, q, [&](std::int64_t tap, std::int64_t x_index) {
      const T* candidate = x + x_index;
      const auto position = static_cast<std::uint8_t>(tap);
      if (first) {
        std::copy_n(candidate, channels, best);
        if (argmax) std::fill_n(argmax + y_index, channels, position);
        first = false;
        return;
      }
      // A candidate that is larger, or the first NaN, takes over. Positions first, in a loop of
      // their own: one that writes bytes and floats under the same condition is not vectorised.
      if (argmax) {
        std::uint8_t* best_position = argmax + y_index;
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) {
          const std::uint8_t before = best_position[c];
          best_position[c] = candidate[c] <= best[c] || best[c] != best[c] ? before : position;
        }
      }
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) {
        const T v = candidate[c], b = best[c];
        best[c] = v <= b || b != b ? b : v;
      }
    });
  });
}

template <typename T>
void max_pool2d_backward(T* dx, const T* dy, const std::uint8_t* argmax, const Pool2dShape& shape,
                         bool accumulate) {
  gather_windows(dx, shape, accumulate, [&](T* pixel, std::int64_t tap, std::int64_t y_index) {
    const auto position = static_cast<std::uint8_t>(tap);
#pragma omp simd
    for (std::int64_t c = 0; c < shape.c; ++c) {
      const T gradient = dy[y_index + c];
      pixel[c] += argmax[y_index + c] == position ? gradient : T(0);
    }
  });
}

template <typename T>
void avg_pool2d_forward(T* y, const T* x, const Pool2dShape& shape) {
  const T per_tap = 1 / static_cast<T>(shape.r * shape.s);
  for_each_output(shape, [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t y_index) {
    T* sum = y + y_index;
    std::fill_n(sum, shape.c, T(0));
    for_each_tap(shape, n, p, q, [&](std::int64_t, std::int64_t x_index) {
#pragma omp simd
      for (std::int64_t c = 0; c < shape.c; ++c) sum[c] += x[x_index + c];
    });
#pragma omp simd
    for (std::int64_t c = 0; c < shape.c; ++c) sum[c] *= per_tap;
  });
}

template <typename T>
void avg_pool2d_backward(T* dx, const T* dy, const Pool2dShape& shape, bool accumulate) {
  const T per_tap = 1 / static_cast<T>(shape.r * shape.s);
  gather_windows(dx, shape, accumulate, [&](T* pixel, std::int64_t, std::int64_t y_index) {
#pragma omp simd
    for (std::int64_t c = 0; c < shape.c; ++c) pixel[c] += dy[y_index + c] * per_tap;
  });
}

template <typename T>
void global_avg_pool_forward(T* y, const T* x, std::int64_t n, std::int64_t pixels,
                             std::int64_t c) {
  reduce_sum(y, x, n, pixels, c, 1 / static_cast<T>(pixels), false);
}

template <typename T>
void global_avg_pool_backward(T* dx, const T* dy, std::int64_t n, std::int64_t pixels,
                              std::int64_t c, bool accumulate, const T* mask) {
  const T per_pixel = 1 / static_cast<T>(pixels);
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, c));
  parallel_for_ranges(n * pixels, grain, [&](Range range) {
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T* dy_row = dy + i / pixels * c;
      T* dx_row = dx + i * c;
      if (accumulate) {
#pragma omp simd
        for (std::int64_t k = 0; k < c; ++k) dx_row[k] += dy_row[k] * per_pixel;
      } else {
#pragma omp simd
        for (std::int64_t k = 0; k < c; ++k) dx_row[k] = dy_row[k] * per_pixel;
      }
      if (!mask) continue;
      const T* mask_row = mask + i * c;
#pragma omp simd
      for (std::int64_t k = 0; k < c; ++k) dx_row[k] = mask_row[k] > 0 ? dx_row[k] : T(0);
    }
  });
}

template void max_pool2d_forward(float*, std::uint8_t*, const float*, const Pool2dShape&);
template void max_pool2d_forward(double*, std::uint8_t*, const double*, const Pool2dShape&);
template void max_pool2d_backward(float*, const float*, const std::uint8_t*, const Pool2dShape&,
                                  bool);
template void max_pool2d_backward(double*, const double*, const std::uint8_t*, const Pool2dShape&,
                                  bool);
template void avg_pool2d_forward(float*, const float*, const Pool2dShape&);
template void avg_pool2d_forward(double*, const double*, const Pool2dShape&);
template void avg_pool2d_backward(float*, const float*, const Pool2dShape&, bool);
template void avg_pool2d_backward(double*, const double*, const Pool2dShape&, bool);
template void global_avg_pool_forward(float*, const float*, std::int64_t, std::int64_t,
                                      std::int64_t);
template void global_avg_pool_forward(double*, const double*, std::int64_t, std::int64_t,
                                      std::int64_t);
template void global_avg_pool_backward(float*, const float*, std::int64_t, std::int64_t,
                                       std::int64_t, bool, const float*);
template void global_avg_pool_backward(double*, const double*, std::int64_t, std::int64_t,
                                       std::int64_t, bool, const double*);

}  // namespace attune::kernels::cpu
