#include "attune/kernels/reference/conv2d.h"

#include "attune/kernels/reference/batch_norm.h"

// Letters, here and in every convolution kernel: output pixel (p, q) of image n looks through
// filter tap (r, s) at input pixel
//
//     h = p * stride_h - pad_h + r * dilation_h,    w = q * stride_w - pad_w + s * dilation_w,
//
// which contributes nothing if it lies outside the image (zero padding). Filter k of group g sees
// input channels g * C/groups + c only. A convolution is the sum of all products x * w along these
// links; its adjoints sum along the same links, towards x (backward_input) or w (backward_weight).

namespace attune::kernels::reference {
namespace {

/// The output coordinate that sees input coordinate `in` through a tap at offset `tap`, or -1 if
/// none does: `in` falls between two strides, or outside the output.
std::int64_t output_seeing(std::int64_t in, std::int64_t tap, std::int64_t stride, std::int64_t pad,
                           std::int64_t outputs) {
  const std::int64_t distance = in + pad - tap;
  if (distance < 0 || distance % stride != 0) return -1;
  const std::int64_t out = distance / stride;
  return out < outputs ? out : -1;
}

template <typename T>
T finish(double v, std::int64_t element, std::int64_t channel, const Conv2dEpilogue<T>& epilogue) {
  if (epilogue.bias) v += static_cast<double>(epilogue.bias[channel]);
  if (epilogue.norm) {
    const Conv2dNorm<T>& norm = epilogue.norm;
    if (norm.y) norm.y[element] = static_cast<T>(v);
    v = (v - static_cast<double>(norm.mean[channel])) * static_cast<double>(norm.slope[channel]) +
        static_cast<double>(norm.shift[channel]);
  }
  if (epilogue.residual) v += static_cast<double>(epilogue.residual[element]);
  if (epilogue.relu) v = v < 0 ? 0 : v;  // lets a NaN pass, so that it is seen
  if (epilogue.mask && !(epilogue.mask[element] > 0)) v = 0;
  return static_cast<T>(v);
}

}  // namespace

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t channels = shape.channels_per_group();
  for (std::int64_t n = 0; n < shape.n; ++n)
    for (std::int64_t p = 0; p < shape.p; ++p)
      for (std::int64_t q = 0; q < shape.q; ++q)
        for (std::int64_t k = 0; k < shape.k; ++k) {
          const std::int64_t group = k / shape.filters_per_group();
          double sum = 0;
          for (std::int64_t r = 0; r < shape.r; ++r) {
            const std::int64_t ih = p * shape.stride_h - shape.pad_h + r * shape.dilation_h;
            if (ih < 0 || ih >= shape.h) continue;
            for (std::int64_t s = 0; s < shape.s; ++s) {
              const std::int64_t iw = q * shape.stride_w - shape.pad_w + s * shape.dilation_w;
              if (iw < 0 || iw >= shape.w) continue;
              const T* pixel = x + ((n * shape.h + ih) * shape.w + iw) * shape.c + group * channels;
              const T* tap = w + ((k * shape.r + r) * shape.s + s) * channels;
              for (std::int64_t c = 0; c < channels; ++c) {
                sum += static_cast<double>(pixel[c]) * static_cast<double>(tap[c]);
              }
            }
          }
          const std::int64_t element = ((n * shape.p + p) * shape.q + q) * shape.k + k;
          y[element] = finish(sum, element, k, epilogue);
        }
  if (epilogue.statistics) {
    batch_norm_statistics(epilogue.statistics.mean, epilogue.statistics.var, y,
                          shape.output_pixels(), shape.k);
  }
}

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filters = shape.filters_per_group();
  for (std::int64_t n = 0; n < shape.n; ++n)
    for (std::int64_t ih = 0; ih < shape.h; ++ih)
      for (std::int64_t iw = 0; iw < shape.w; ++iw)
        for (std::int64_t ic = 0; ic < shape.c; ++ic) {
          const std::int64_t group = ic / channels;
          const std::int64_t c = ic % channels;
          double sum = 0;
          for (std::int64_t r = 0; r < shape.r; ++r) {
            const std::int64_t p =
                output_seeing(ih, r * shape.dilation_h, shape.stride_h, shape.pad_h, shape.p);
            if (p < 0) continue;
            for (std::int64_t s = 0; s < shape.s; ++s) {
              const std::int64_t q =
                  output_seeing(iw, s * shape.dilation_w, shape.stride_w, shape.pad_w, shape.q);
              if (q < 0) continue;
              const T* pixel = dy + ((n * shape.p + p) * shape.q + q) * shape.k;
              for (std::int64_t k = group * filters; k < (group + 1) * filters; ++k) {
                const T tap = w[((k * shape.r + r) * shape.s + s) * channels + c];
                sum += static_cast<double>(pixel[k]) * static_cast<double>(tap);
              }
            }
          }
          const std::int64_t element = ((n * shape.h + ih) * shape.w + iw) * shape.c + ic;
          dx[element] = finish(sum, element, ic, epilogue);
        }
}

template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias) {
  const std::int64_t channels = shape.channels_per_group();
  for (std::int64_t k = 0; k < shape.k; ++k)
    for (std::int64_t r = 0; r < shape.r; ++r)
      for (std::int64_t s = 0; s < shape.s; ++s)
        for (std::int64_t c = 0; c < channels; ++c) {
          const std::int64_t ic = k / shape.filters_per_group() * channels + c;
          double sum = 0;
          for (std::int64_t n = 0; n < shape.n; ++n)
            for (std::int64_t p = 0; p < shape.p; ++p) {
              const std::int64_t ih = p * shape.stride_h - shape.pad_h + r * shape.dilation_h;
              if (ih < 0 || ih >= shape.h) continue;
              for (std::int64_t q = 0; q < shape.q; ++q) {
                const std::int64_t iw = q * shape.stride_w - shape.pad_w + s * shape.dilation_w;
                if (iw < 0 || iw >= shape.w) continue;
                sum += static_cast<double>(x[((n * shape.h + ih) * shape.w + iw) * shape.c + ic]) *
                       static_cast<double>(dy[((n * shape.p + p) * shape.q + q) * shape.k + k]);
              }
            }
          T& out = dw[((k * shape.r + r) * shape.s + s) * channels + c];
          out = static_cast<T>(sum + (accumulate ? static_cast<double>(out) : 0.0));
        }
  if (bias.db) conv2d_backward_bias(bias.db, dy, shape.output_pixels(), shape.k, bias.accumulate);
}

template <typename T>
void conv2d_backward_bias(T* db, const T* dy, std::int64_t pixels, std::int64_t channels,
                          bool accumulate) {
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = accumulate ? static_cast<double>(db[c]) : 0.0;
    for (std::int64_t i = 0; i < pixels; ++i) sum += static_cast<double>(dy[i * channels + c]);
    db[c] = static_cast<T>(sum);
  }
}

template void conv2d_forward(float*, const float*, const float*, const Conv2dShape&,
                             const Conv2dEpilogue<float>&);
template void conv2d_forward(double*, const double*, const double*, const Conv2dShape&,
                             const Conv2dEpilogue<double>&);
template void conv2d_backward_input(float*, const float*, const float*, const Conv2dShape&,
                                    const Conv2dEpilogue<float>&);
template void conv2d_backward_input(double*, const double*, const double*, const Conv2dShape&,
                                    const Conv2dEpilogue<double>&);
template void conv2d_backward_weight(float*, const float*, const float*, const Conv2dShape&, bool,
                                     const Conv2dBiasGradient<float>&);
template void conv2d_backward_weight(double*, const double*, const double*, const Conv2dShape&,
                                     bool, const Conv2dBiasGradient<double>&);
template void conv2d_backward_bias(float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace attune::kernels::reference
