#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

/// Geometry of 2-D pooling over x [N, H, W, C] -> y [N, P, Q, C], with windows of R x S elements,
/// R * S <= 255. Validated by the caller: P = (H + 2 pad_h - R) / stride_h + 1, rounded down, Q
/// likewise, and padding is smaller than the window, so that every window holds a pixel of x.
struct Pool2dShape {
  std::int64_t n = 0, h = 0, w = 0, c = 0;
  std::int64_t r = 0, s = 0;
  std::int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  std::int64_t p = 0, q = 0;
};

/// y = max over the window, padding excluded (it counts as minus infinity). `argmax` [N, P, Q, C]
/// (null: not wanted) gets the position r * S + s of the first largest element in its window: one
/// byte where other frameworks keep eight. A NaN in the window wins, and the first one does.
template <typename T>
void max_pool2d_forward(Device device, T* y, std::uint8_t* argmax, const T* x,
                        const Pool2dShape& shape);

/// dx gets dy at the positions `argmax` names; added to what dx holds if `accumulate`.
template <typename T>
void max_pool2d_backward(Device device, T* dx, const T* dy, const std::uint8_t* argmax,
                         const Pool2dShape& shape, bool accumulate = false);

/// y = sum over the window / (R * S), padding counted as zeros (PyTorch's default).
template <typename T>
void avg_pool2d_forward(Device device, T* y, const T* x, const Pool2dShape& shape);

/// The adjoint of avg_pool2d_forward; added to what dx holds if `accumulate`.
template <typename T>
void avg_pool2d_backward(Device device, T* dx, const T* dy, const Pool2dShape& shape,
                         bool accumulate = false);

/// y [n, c] = mean of x [n, pixels, c] over the pixels.
template <typename T>
void global_avg_pool_forward(Device device, T* y, const T* x, std::int64_t n, std::int64_t pixels,
                             std::int64_t c);

/// dx [n, pixels, c] = dy [n, c] / pixels; added to what dx holds if `accumulate`; then, where
/// `mask` (null: none; dx's shape) is not positive, zero.
template <typename T>
void global_avg_pool_backward(Device device, T* dx, const T* dy, std::int64_t n,
                              std::int64_t pixels, std::int64_t c, bool accumulate = false,
                              const T* mask = nullptr);

}  // namespace attune::kernels
