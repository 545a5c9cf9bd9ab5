#include "attune/kernels/reference/pool.h"

#include <cmath>

namespace attune::kernels::reference {
namespace {

// Calls visit(tap, x_index, y_index) for every element of every window that lies inside the image:
// windows in the order of y, taps of a window in row-major order.
template <typename Visit>
void for_each_tap(const Pool2dShape& s, const Visit& visit) {
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t p = 0; p < s.p; ++p)
      for (std::int64_t q = 0; q < s.q; ++q)
        for (std::int64_t c = 0; c < s.c; ++c)
          for (std::int64_t tap = 0; tap < s.r * s.s; ++tap) {
            const std::int64_t h = p * s.stride_h - s.pad_h + tap / s.s;
            const std::int64_t w = q * s.stride_w - s.pad_w + tap % s.s;
            if (h < 0 || h >= s.h || w < 0 || w >= s.w) continue;
            visit(tap, ((n * s.h + h) * s.w + w) * s.c + c, ((n * s.p + p) * s.q + q) * s.c + c);
          }
}

}  // namespace

template <typename T>
void max_pool2d_forward(T* y, std::uint8_t* argmax, const T* x, const Pool2dShape& shape) {
  std::int64_t window = -1;
  for_each_tap(shape, [&](std::int64_t tap, std::int64_t x_index, std::int64_t y_index) {
    const bool first = y_index != window;
    window = y_index;
    const T candidate = x[x_index];
    if (!first && (std::isnan(y[window]) || candidate <= y[window])) return;
    y[window] = candidate;
    if (argmax) argmax[window] = static_cast<std::uint8_t>(tap);
  });
}

template <typename T>
void max_pool2d_backward(T* dx, const T* dy, const std::uint8_t* argmax, const Pool2dShape& shape,
                         bool accumulate) {
  if (!accumulate) {
    for (std::int64_t i = 0; i < shape.n * shape.h * shape.w * shape.c; ++i) dx[i] = 0;
  }
  for_each_tap(shape, [&](std::int64_t tap, std::int64_t x_index, std::int64_t y_index) {
    if (argmax[y_index] == tap) dx[x_index] += dy[y_index];
  });
}

template <typename T>
void avg_pool2d_forward(T* y, const T* x, const Pool2dShape& shape) {
  const auto area = static_cast<double>(shape.r * shape.s);
  std::int64_t window = -1;
  double sum = 0;
  for_each_tap(shape, [&](std::int64_t, std::int64_t x_index, std::int64_t y_index) {
    if (y_index != window) sum = 0;
    window = y_index;
    sum += double{x[x_index]};
    y[window] = static_cast<T>(sum / area);
  });
}

template <typename T>
void avg_pool2d_backward(T* dx, const T* dy, const Pool2dShape& shape, bool accumulate) {
  if (!accumulate) {
    for (std::int64_t i = 0; i < shape.n * shape.h * shape.w * shape.c; ++i) dx[i] = 0;
  }
  const T area = static_cast<T>(shape.r * shape.s);
  for_each_tap(shape, [&](std::int64_t, std::int64_t x_index, std::int64_t y_index) {
    dx[x_index] += dy[y_index] / area;
  });
}

template <typename T>
void global_avg_pool_forward(T* y, const T* x, std::int64_t n, std::int64_t pixels,
                             std::int64_t c) {
  for (std::int64_t image = 0; image < n; ++image)
    for (std::int64_t channel = 0; channel < c; ++channel) {
      double sum = 0;
      for (std::int64_t p = 0; p < pixels; ++p) {
        sum += double{x[(image * pixels + p) * c + channel]};
      }
      y[image * c + channel] = static_cast<T>(sum / static_cast<double>(pixels));
    }
}

template <typename T>
void global_avg_pool_backward(T* dx, const T* dy, std::int64_t n, std::int64_t pixels,
                              std::int64_t c, bool accumulate, const T* mask) {
  for (std::int64_t i = 0; i < n * pixels * c; ++i) {
    const T gradient = dy[i / (pixels * c) * c + i % c] / static_cast<T>(pixels);
    dx[i] = accumulate ? dx[i] + gradient : gradient;
    if (mask && !(mask[i] > 0)) dx[i] = 0;
  }
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

}  // namespace attune::kernels::reference
