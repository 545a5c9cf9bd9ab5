#pragma once

#include "attune/kernels/conv2d_shape.h"
#include "attune/kernels/device.h"
#include "attune/kernels/kept_results.h"

namespace attune::kernels {

/// Batch normalisation of an element by statistics that are known already, v being stored in `y`
/// before, unless that is null:
///
///     y[element] = v;   v = (v - mean[channel]) * slope[channel] + shift[channel]
///
/// with slope = gamma / sqrt(var + eps) and shift = beta.
template <typename T>
struct Conv2dNorm {
  T* y = nullptr;
  const T* mean = nullptr;
  const T* slope = nullptr;
  const T* shift = nullptr;

  explicit operator bool() const { return slope != nullptr; }
};

/// Where the statistics of a convolution's output go, per channel over the pixels: mean [K], and
/// biased variance [K], as batch_norm_statistics() has them. Null: not wanted.
template <typename T>
struct Conv2dStatistics {
  T* mean = nullptr;
  T* var = nullptr;

  explicit operator bool() const { return mean != nullptr; }
};

/// What a convolution does to each output element before storing it, in this order:
///
///     v = conv + bias[channel];   if (norm) v = norm(v);   v += residual[element];
///     if (relu) v = max(v, 0);    if (mask) v = mask[element] > 0 ? v : 0;
///
/// Null pointers leave their step out, and a NaN passes the ReLU. `residual` and `mask` have the
/// output's shape; without a norm, `residual` may be the output itself, which is how a gradient is
/// accumulated. `mask` is the output of a ReLU whose gradient is being computed. `statistics` are
/// those of the output as it is stored; only conv2d_forward takes them.
template <typename T>
struct Conv2dEpilogue {
  const T* bias = nullptr;
  Conv2dNorm<T> norm = {};
  const T* residual = nullptr;
  bool relu = false;
  const T* mask = nullptr;
  Conv2dStatistics<T> statistics = {};
};

/// y [N,P,Q,K] = epilogue(conv(x [N,H,W,C], w [K,R,S,C/groups])):
///
///     conv[n,p,q,k] = sum over r,s,c of x[n, p*stride_h - pad_h + r*dilation_h, ..., c] w[k,r,s,c]
///
/// `y` overlaps none of the inputs except, if at all, `epilogue.residual`. With a version of w's
/// content, what the kernel makes of w first is kept for the next call; the result is the same.
template <typename T>
void conv2d_forward(Device device, T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue = {}, ContentVersion w_version = {});

/// dx [N,H,W,C] = epilogue(conv^T(dy [N,P,Q,K], w)): the adjoint of conv2d_forward in x. Input
/// pixels that no output reads get the epilogue of zero. This is also the forward pass of a
/// transposed convolution, whose own gradients are conv2d_forward and conv2d_backward_weight with
/// x and dy exchanged. `w_version` as above.
template <typename T>
void conv2d_backward_input(Device device, T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue = {}, ContentVersion w_version = {});

/// Where the gradient of the bias goes: db [K] = sum of dy over the pixels, added to what db holds
/// if `accumulate`, else overwriting it. A null `db` is not computed.
template <typename T>
struct Conv2dBiasGradient {
  T* db = nullptr;
  bool accumulate = false;
};

/// dw [K,R,S,C/groups] = the adjoint of conv2d_forward in w, applied to dy; added to what dw holds
/// if `accumulate`, else overwriting it. The gradient of the bias is a by-product: both read all of
/// dy.
template <typename T>
void conv2d_backward_weight(Device device, T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate = false, const Conv2dBiasGradient<T>& bias = {});

/// conv2d_backward_input (`epilogue` is dx's) and conv2d_backward_weight, with the same results, in
/// one sweep where that saves reading x and dy twice. `dx` overlaps neither of them.
template <typename T>
void conv2d_backward(Device device, T* dx, T* dw, const T* x, const T* dy, const T* w,
                     const Conv2dShape& shape, const Conv2dEpilogue<T>& epilogue = {},
                     bool accumulate = false, const Conv2dBiasGradient<T>& bias = {});

/// The gradient of the bias alone: db [channels] = sum of dy [pixels, channels] over the pixels;
/// added to what db holds if `accumulate`, else overwriting it.
template <typename T>
void conv2d_backward_bias(Device device, T* db, const T* dy, std::int64_t pixels,
                          std::int64_t channels, bool accumulate = false);

}  // namespace attune::kernels
