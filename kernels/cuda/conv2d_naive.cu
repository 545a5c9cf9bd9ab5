#include "attune/kernels/cuda/batch_norm.h"
#include "attune/kernels/cuda/conv2d_naive.h"
#include "attune/kernels/cuda/reduce.h"
#include "attune/kernels/cuda/reduce_middle.h"

// The first step of the ladder (docs/cuda_ladder.md): a thread for each output, which reads
// everything it needs from global memory. What every faster kernel is compared with, and what
// serves the geometries they do not. reference/conv2d.cpp explains the letters.
//
// Executed under emulation, not yet on a GPU.
namespace attune::kernels::cuda::naive {
namespace {

// ---- kernels ----

// The output coordinate that sees input coordinate `in` through a tap at offset `tap`, or -1.
__device__ inline std::int64_t output_seeing(std::int64_t in, std::int64_t tap, std::int64_t stride,
                                             std::int64_t pad, std::int64_t outputs) {
  const std::int64_t distance = in + pad - tap;
  if (distance < 0 || distance % stride != 0) return -1;
  return distance / stride < outputs ? distance / stride : -1;
}

template <typename T>
__device__ T finish(T v, std::int64_t element, std::int64_t channel,
                    const Conv2dEpilogue<T>& epilogue) {
  if (epilogue.bias != nullptr) v += epilogue.bias[channel];
  const Conv2dNorm<T>& norm = epilogue.norm;
  if (norm.slope != nullptr) {
    if (norm.y != nullptr) norm.y[element] = v;
    v = (v - norm.mean[channel]) * norm.slope[channel] + norm.shift[channel];
  }
  if (epilogue.residual != nullptr) v += epilogue.residual[element];
  if (epilogue.relu && v < 0) v = 0;  // lets a NaN pass, so that it is seen
  if (epilogue.mask != nullptr && !(epilogue.mask[element] > 0)) v = 0;
  return v;
}

template <typename T>
__global__ void naive_forward_kernel(T* y, const T* x, const T* w, Conv2dShape shape,
                                     Conv2dEpilogue<T> epilogue) {
  const std::int64_t element = thread_number();
  if (element >= shape.output_count()) return;
  const Element out(element, shape.p, shape.q, shape.k);
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t group = out.c / shape.filters_per_group();
  T sum = 0;
  for (std::int64_t r = 0; r < shape.r; ++r) {
    const std::int64_t ih = out.h * shape.stride_h - shape.pad_h + r * shape.dilation_h;
    if (ih < 0 || ih >= shape.h) continue;
    for (std::int64_t s = 0; s < shape.s; ++s) {
      const std::int64_t iw = out.w * shape.stride_w - shape.pad_w + s * shape.dilation_w;
      if (iw < 0 || iw >= shape.w) continue;
      const T* pixel = x + ((out.n * shape.h + ih) * shape.w + iw) * shape.c + group * channels;
      const T* tap = w + ((out.c * shape.r + r) * shape.s + s) * channels;
      for (std::int64_t c = 0; c < channels; ++c) sum += pixel[c] * tap[c];
    }
  }
  y[element] = finish(sum, element, out.c, epilogue);
}

template <typename T>
__global__ void naive_backward_input_kernel(T* dx, const T* dy, const T* w, Conv2dShape shape,
                                            Conv2dEpilogue<T> epilogue) {
  const std::int64_t element = thread_number();
  if (element >= shape.input_count()) return;
  const Element in(element, shape.h, shape.w, shape.c);
  const std::int64_t channels = shape.channels_per_group();
  const std::int64_t filters = shape.filters_per_group();
  const std::int64_t group = in.c / channels;
  T sum = 0;
  for (std::int64_t r = 0; r < shape.r; ++r) {
    const std::int64_t p =
        output_seeing(in.h, r * shape.dilation_h, shape.stride_h, shape.pad_h, shape.p);
    if (p < 0) continue;
    for (std::int64_t s = 0; s < shape.s; ++s) {
      const std::int64_t q =
          output_seeing(in.w, s * shape.dilation_w, shape.stride_w, shape.pad_w, shape.q);
      if (q < 0) continue;
      const T* pixel = dy + ((in.n * shape.p + p) * shape.q + q) * shape.k;
      for (std::int64_t k = group * filters; k < (group + 1) * filters; ++k) {
        sum += pixel[k] * w[((k * shape.r + r) * shape.s + s) * channels + in.c % channels];
      }
    }
  }
  dx[element] = finish(sum, element, in.c, epilogue);
}

}  // namespace

// ---- launchers ----

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue) {
  launch(naive_forward_kernel<T>, blocks_for(shape.output_count()), kThreads, 0, stream(), y, x, w,
         shape, epilogue);
  if (epilogue.statistics) {
    batch_norm_statistics(epilogue.statistics.mean, epilogue.statistics.var, y,
                          shape.output_pixels(), shape.k);
  }
}

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue) {
  launch(naive_backward_input_kernel<T>, blocks_for(shape.input_count()), kThreads, 0, stream(), dx,
         dy, w, shape, epilogue);
}

// Every element of the filter's gradient is a sum over all output pixels, of which there are many,
// and there are few elements: reduce_middle() cuts the sums up.
template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias) {
  const std::int64_t channels = shape.channels_per_group();
  reduce_middle<Sum>(
      {1, shape.output_pixels(), shape.filter_count()},
      [=] __device__(Sum & sum, std::int64_t, std::int64_t pixel, std::int64_t element) {
        const Element out(pixel, shape.p, shape.q, 1);
        const Element tap(element, shape.r, shape.s, channels);  // its image is the filter
        const std::int64_t ih = out.h * shape.stride_h - shape.pad_h + tap.h * shape.dilation_h;
        const std::int64_t iw = out.w * shape.stride_w - shape.pad_w + tap.w * shape.dilation_w;
        if (ih < 0 || ih >= shape.h || iw < 0 || iw >= shape.w) return;
        const std::int64_t ic = tap.n / shape.filters_per_group() * channels + tap.c;
        sum.value +=
            static_cast<double>(x[((out.n * shape.h + ih) * shape.w + iw) * shape.c + ic]) *
            static_cast<double>(dy[pixel * shape.k + tap.n]);
      },
      [=] __device__(std::int64_t element, const Sum& sum) {
        const double before = accumulate ? static_cast<double>(dw[element]) : 0.0;
        dw[element] = static_cast<T>(before + sum.value);
      });
  if (bias.db != nullptr) {
    reduce_sum(bias.db, dy, 1, shape.output_pixels(), shape.k, T(1), bias.accumulate);
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

}  // namespace attune::kernels::cuda::naive
