#include <cmath>

#include "attune/kernels/cuda/pool.h"
#include "attune/kernels/cuda/reduce_middle.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

// Calls visit(tap, x_index) for the pixels of output i's window that lie inside the image, in
// row-major order.
template <typename Visit>
__device__ void for_each_tap(const Pool2dShape& s, std::int64_t i, const Visit& visit) {
  const Element out(i, s.p, s.q, s.c);
  for (std::int64_t r = 0; r < s.r; ++r) {
    const std::int64_t h = out.h * s.stride_h - s.pad_h + r;
    if (h < 0 || h >= s.h) continue;
    for (std::int64_t tap = 0; tap < s.s; ++tap) {
      const std::int64_t w = out.w * s.stride_w - s.pad_w + tap;
      if (w < 0 || w >= s.w) continue;
      visit(r * s.s + tap, ((out.n * s.h + h) * s.w + w) * s.c + out.c);
    }
  }
}

// Calls visit(tap, y_index) for the windows that input i lies in, in the order of y: the backward
// passes gather, where scattering would have several threads add to one element.
template <typename Visit>
__device__ void for_each_window(const Pool2dShape& s, std::int64_t i, const Visit& visit) {
  const Element in(i, s.h, s.w, s.c);
  const std::int64_t down = in.h + s.pad_h;
  const std::int64_t across = in.w + s.pad_w;
  // Window p covers rows p * stride ... p * stride + R - 1 of the padded image.
  const std::int64_t first_p = down < s.r ? 0 : (down - s.r) / s.stride_h + 1;
  const std::int64_t first_q = across < s.s ? 0 : (across - s.s) / s.stride_w + 1;
  for (std::int64_t p = first_p; p < s.p && p * s.stride_h <= down; ++p) {
    for (std::int64_t q = first_q; q < s.q && q * s.stride_w <= across; ++q) {
      const std::int64_t tap = (down - p * s.stride_h) * s.s + across - q * s.stride_w;
      visit(tap, ((in.n * s.p + p) * s.q + q) * s.c + in.c);
    }
  }
}

std::int64_t input_count(const Pool2dShape& s) { return s.n * s.h * s.w * s.c; }
std::int64_t output_count(const Pool2dShape& s) { return s.n * s.p * s.q * s.c; }

}  // namespace

// ---- launchers ----

template <typename T>
void max_pool2d_forward(T* y, std::uint8_t* argmax, const T* x, const Pool2dShape& shape) {
  for_each(output_count(shape), [=] __device__(std::int64_t i) {
    T largest = 0;
    std::int64_t position = -1;
    for_each_tap(shape, i, [&](std::int64_t tap, std::int64_t x_index) {
      const T value = x[x_index];
      if (position >= 0 && !(value > largest) && !(std::isnan(value) && !std::isnan(largest)))
        return;
      largest = value;
      position = tap;
    });
    y[i] = largest;
    if (argmax != nullptr) argmax[i] = static_cast<std::uint8_t>(position);
  });
}

template <typename T>
void max_pool2d_backward(T* dx, const T* dy, const std::uint8_t* argmax, const Pool2dShape& shape,
                         bool accumulate) {
  for_each(input_count(shape), [=] __device__(std::int64_t i) {
    T sum = accumulate ? dx[i] : T(0);
    for_each_window(shape, i, [&](std::int64_t tap, std::int64_t y_index) {
      if (argmax[y_index] == tap) sum += dy[y_index];
    });
    dx[i] = sum;
  });
}

template <typename T>
void avg_pool2d_forward(T* y, const T* x, const Pool2dShape& shape) {
  for_each(output_count(shape), [=] __device__(std::int64_t i) {
    T sum = 0;
    for_each_tap(shape, i, [&](std::int64_t, std::int64_t x_index) { sum += x[x_index]; });
    y[i] = sum / static_cast<T>(shape.r * shape.s);
  });
}

template <typename T>
void avg_pool2d_backward(T* dx, const T* dy, const Pool2dShape& shape, bool accumulate) {
  for_each(input_count(shape), [=] __device__(std::int64_t i) {
    const T area = static_cast<T>(shape.r * shape.s);
    T sum = accumulate ? dx[i] : T(0);
    for_each_window(shape, i,
                    [&](std::int64_t, std::int64_t y_index) { sum += dy[y_index] / area; });
    dx[i] = sum;
  });
}

template <typename T>
void global_avg_pool_forward(T* y, const T* x, std::int64_t n, std::int64_t pixels,
                             std::int64_t c) {
  reduce_middle<Sum>(
      {n, pixels, c},
      [=] __device__(Sum & sum, std::int64_t image, std::int64_t pixel, std::int64_t channel) {
        sum.value += static_cast<double>(x[(image * pixels + pixel) * c + channel]);
      },
      [=] __device__(std::int64_t i, const Sum& sum) {
        y[i] = static_cast<T>(sum.value / static_cast<double>(pixels));
      });
}

template <typename T>
void global_avg_pool_backward(T* dx, const T* dy, std::int64_t n, std::int64_t pixels,
                              std::int64_t c, bool accumulate, const T* mask) {
  for_each(n * pixels * c, [=] __device__(std::int64_t i) {
    const T gradient = dy[i / (pixels * c) * c + i % c] / static_cast<T>(pixels);
    const T sum = accumulate ? dx[i] + gradient : gradient;
    dx[i] = mask == nullptr || mask[i] > 0 ? sum : T(0);
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

}  // namespace attune::kernels::cuda
