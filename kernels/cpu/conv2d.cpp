#include "attune/kernels/cpu/conv2d.h"

#include <algorithm>
#include <type_traits>

#include "attune/kernels/conv_algorithm.h"
#include "attune/kernels/cpu/batch_norm.h"
#include "attune/kernels/cpu/conv2d_table.h"
#include "attune/kernels/cpu/parallel.h"
#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {
namespace {

/// One filter a channel. A few channels do not fill a vector, and go the way of any other group.
bool is_depthwise(const Conv2dShape& shape) {
  return shape.groups >= 4 && shape.c == shape.groups && shape.k == shape.groups;
}

bool winograd_applies(const Conv2dShape& s) {
  return s.r == 3 && s.s == 3 && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.groups == 1 && s.pad_h <= 2 && s.pad_w <= 2 && s.c % 16 == 0 &&
         s.k % 16 == 0;
}

/// Whether there are tiles enough to pay for transforming the filter, which a large one takes out
/// of the caches. (That it may be ready does not count: results must not depend on it.)
bool winograd_pays(const Conv2dShape& s) {
  const std::int64_t least_tiles = s.c * s.k <= 128 * 128 ? 4 : 16;
  return s.n * ceil_div(s.p, 4) * ceil_div(s.q, 4) >= least_tiles;
}

template <typename T>
const Conv2dPasses<T>& passes(const Conv2dShape& shape) {
  constexpr bool is_float = std::is_same_v<T, float>;
  const Conv2dAlgorithms<T>* algorithms = nullptr;
  if constexpr (is_float) {
    algorithms = &conv2d_table().of_float;
  } else {
    algorithms = &conv2d_table().of_double;
  }
  if (is_depthwise(shape)) return algorithms->depthwise;
  const ConvAlgorithm algorithm = conv_algorithm();
  const bool winograd =
      winograd_applies(shape) &&
      (algorithm == ConvAlgorithm::winograd ||
       (algorithm == ConvAlgorithm::automatic && is_float && winograd_pays(shape)));
  return winograd ? algorithms->winograd : algorithms->direct;
}

/// The form in which `pass`, an entry of the table, wants its filter.
template <typename Pass>
FilterForm form_for(const Pass& pass, Conv2dShape shape) {
  shape.n = 0;
  return {&pass, shape};
}

/// Whether the gradients of filter and input are better taken in one sweep. The filter's is cut
/// into few slices where there are few tiles or a large filter; too few for the input's to share.
bool sweep_pays(const Conv2dShape& s) {
  return s.output_pixels() >= 16 * 128 * kMaxWorkers && s.c * s.k <= 128 * 128;
}

/// Calls body(sums) for a pass that also sums up dy, if `bias` wants that, and then fills `bias`.
template <typename T, typename Body>
void with_bias_sums(const Conv2dBiasGradient<T>& bias, const Conv2dShape& shape, const Body& body) {
  const Workspace<double> sums(bias.db ? shape.k : 0);
  body(bias.db ? sums.data() : nullptr);
  if (!bias.db) return;
  for (std::int64_t k = 0; k < shape.k; ++k) {
    const double before = bias.accumulate ? static_cast<double>(bias.db[k]) : 0.0;
    bias.db[k] = static_cast<T>(before + sums.data()[k]);
  }
}

}  // namespace

template <typename T>
void conv2d_forward(T* y, const T* x, const T* w, const Conv2dShape& shape,
                    const Conv2dEpilogue<T>& epilogue, ContentVersion w_version) {
  const Conv2dPasses<T>& chosen = passes<T>(shape);
  chosen.forward(y, x, {w, w_version, form_for(chosen.forward, shape)}, shape, epilogue);
  if (epilogue.statistics && !chosen.takes_statistics) {
    batch_norm_statistics(epilogue.statistics.mean, epilogue.statistics.var, y,
                          shape.output_pixels(), shape.k);
  }
}

template <typename T>
void conv2d_backward_input(T* dx, const T* dy, const T* w, const Conv2dShape& shape,
                           const Conv2dEpilogue<T>& epilogue, ContentVersion w_version) {
  const auto& backward_input = passes<T>(shape).backward_input;
  backward_input(dx, dy, {w, w_version, form_for(backward_input, shape)}, shape, epilogue);
}

template <typename T>
void conv2d_backward_weight(T* dw, const T* x, const T* dy, const Conv2dShape& shape,
                            bool accumulate, const Conv2dBiasGradient<T>& bias) {
  with_bias_sums(bias, shape, [&](double* dy_sums) {
    passes<T>(shape).backward_weight(dw, x, dy, shape, accumulate, dy_sums);
  });
}

template <typename T>
void conv2d_backward(T* dx, T* dw, const T* x, const T* dy, const T* w, const Conv2dShape& shape,
                     const Conv2dEpilogue<T>& epilogue, bool accumulate,
                     const Conv2dBiasGradient<T>& bias) {
  const auto backward = passes<T>(shape).backward;
  if (!backward || shape.h != shape.p || shape.w != shape.q || !sweep_pays(shape)) {
    conv2d_backward_weight(dw, x, dy, shape, accumulate, bias);
    conv2d_backward_input(dx, dy, w, shape, epilogue);
    return;
  }
  with_bias_sums(bias, shape, [&](double* dy_sums) {
    backward(dx, dw, x, dy, w, shape, epilogue, accumulate, dy_sums);
  });
}

template <typename T>
void conv2d_backward_bias(T* db, const T* dy, std::int64_t pixels, std::int64_t channels,
                          bool accumulate) {
  constexpr std::int64_t kMinRows = 256;
  const std::int64_t slices = std::clamp<std::int64_t>(pixels / kMinRows, 1, kMaxWorkers);
  const Workspace<double> partials(slices * channels);

  parallel_for(slices, [&](std::int64_t slice) {
    double* sum = partials.data() + slice * channels;
    std::fill_n(sum, channels, 0.0);
    const Range range = piece(pixels, slices, slice);
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T* row = dy + i * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += static_cast<double>(row[c]);
    }
  });

  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = accumulate ? static_cast<double>(db[c]) : 0.0;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      sum += partials.data()[slice * channels + c];
    }
    db[c] = static_cast<T>(sum);
  }
}

template void conv2d_forward(float*, const float*, const float*, const Conv2dShape&,
                             const Conv2dEpilogue<float>&, ContentVersion);
template void conv2d_forward(double*, const double*, const double*, const Conv2dShape&,
                             const Conv2dEpilogue<double>&, ContentVersion);
template void conv2d_backward_input(float*, const float*, const float*, const Conv2dShape&,
                                    const Conv2dEpilogue<float>&, ContentVersion);
template void conv2d_backward_input(double*, const double*, const double*, const Conv2dShape&,
                                    const Conv2dEpilogue<double>&, ContentVersion);
template void conv2d_backward_weight(float*, const float*, const float*, const Conv2dShape&, bool,
                                     const Conv2dBiasGradient<float>&);
template void conv2d_backward_weight(double*, const double*, const double*, const Conv2dShape&,
                                     bool, const Conv2dBiasGradient<double>&);
template void conv2d_backward(float*, float*, const float*, const float*, const float*,
                              const Conv2dShape&, const Conv2dEpilogue<float>&, bool,
                              const Conv2dBiasGradient<float>&);
template void conv2d_backward(double*, double*, const double*, const double*, const double*,
                              const Conv2dShape&, const Conv2dEpilogue<double>&, bool,
                              const Conv2dBiasGradient<double>&);
template void conv2d_backward_bias(float*, const float*, std::int64_t, std::int64_t, bool);
template void conv2d_backward_bias(double*, const double*, std::int64_t, std::int64_t, bool);

}  // namespace attune::kernels::cpu
