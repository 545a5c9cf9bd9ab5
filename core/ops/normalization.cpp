#include "attune/core/ops/normalization.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/convolution.h"
#include "attune/kernels/batch_norm.h"

namespace attune {
namespace {

std::int64_t channels_of(const Tensor& y) { return y.size(-1); }
std::int64_t pixels_of(const Tensor& y) {
  return y.count() / std::max<std::int64_t>(1, y.size(-1));
}

// The buffer for a result that may take the place of `dz`.
Tensor reuse_or_allocate(const Tensor& dz) {
  return dz.shared_storage().use_count() == 1
             ? dz
             : Tensor::empty(dz.shape(), dz.dtype(), dz.device(), MemoryPurpose::gradient);
}

}  // namespace

BatchStatistics::BatchStatistics(const char* op, const Tensor& y)
    : mean(Tensor::empty({channels_of(y)}, y.dtype(), y.device())),
      var(Tensor::empty({channels_of(y)}, y.dtype(), y.device())),
      pixels(pixels_of(y)) {
  if (pixels < 2) {
    throw Error(format_text("{}: {} has {} value a channel, which has no variance", op, describe(y),
                            pixels));
  }
}

void BatchStatistics::take(const Tensor& y) {
  visit_floating(y.dtype(), "batch_norm", [&]<typename T>(T) {
    kernels::batch_norm_statistics(y.device(), mean.mutable_data<T>(), var.mutable_data<T>(),
                                   y.data<T>(), pixels, channels_of(y));
  });
}

ChannelStatistics BatchStatistics::finish(Tensor running_mean, Tensor running_var, double momentum,
                                          double eps) {
  const std::int64_t channels = mean.count();
  visit_floating(mean.dtype(), "batch_norm", [&]<typename T>(T) {
    if (running_mean.defined()) {
      kernels::batch_norm_update_running(mean.device(), running_mean.mutable_data<T>(),
                                         running_var.mutable_data<T>(), mean.data<T>(),
                                         var.data<T>(), pixels, channels, static_cast<T>(momentum));
    }
    T* rstd = var.mutable_data<T>();
    kernels::batch_norm_rstd(mean.device(), rstd, rstd, channels, static_cast<T>(eps));
  });
  return {mean, var};
}

ChannelStatistics running_statistics(const Tensor& running_mean, const Tensor& running_var,
                                     double eps) {
  Tensor rstd = Tensor::empty(running_var.shape(), running_var.dtype(), running_var.device());
  visit_floating(rstd.dtype(), "batch_norm", [&]<typename T>(T) {
    kernels::batch_norm_rstd(rstd.device(), rstd.mutable_data<T>(), running_var.data<T>(),
                             rstd.count(), static_cast<T>(eps));
  });
  return {running_mean, rstd};
}

void normalize(Tensor& z, const Tensor& y, const ChannelStatistics& statistics, const Tensor& gamma,
               const Tensor& beta, const Tensor& residual, bool relu) {
  visit_floating(y.dtype(), "batch_norm", [&]<typename T>(T) {
    kernels::batch_norm_forward(y.device(), z.mutable_data<T>(), y.data<T>(),
                                statistics.mean.data<T>(), statistics.rstd.data<T>(),
                                data_or_null<T>(gamma), data_or_null<T>(beta),
                                data_or_null<T>(residual), relu, pixels_of(y), channels_of(y));
  });
}

NormalizeBackward::Gradients NormalizeBackward::operator()(Tensor dz, const Tensor& y,
                                                           const ChannelStatistics& statistics,
                                                           const Tensor& gamma) const {
  const bool y_through_statistics = want_y && batch_statistics;
  const bool sum_dz_yhat = want_gamma || y_through_statistics;
  const std::int64_t pixels = pixels_of(dz);
  const std::int64_t channels = channels_of(dz);
  const auto channel_gradient = [&] {
    return Tensor::empty({channels}, dz.dtype(), dz.device(), MemoryPurpose::gradient);
  };
  Gradients result;
  if (sum_dz_yhat || want_beta) result.beta = channel_gradient();
  if (sum_dz_yhat) result.gamma = channel_gradient();
  if (want_y) result.y = reuse_or_allocate(dz);

  visit_floating(dz.dtype(), "batch_norm", [&]<typename T>(T) {
    const T* mean = statistics.mean.data<T>();
    const T* rstd = statistics.rstd.data<T>();
    const T* scale = data_or_null<T>(gamma);
    if (result.beta.defined()) {
      kernels::batch_norm_backward_reduce(dz.device(), result.beta.mutable_data<T>(),
                                          sum_dz_yhat ? result.gamma.mutable_data<T>() : nullptr,
                                          dz.data<T>(), sum_dz_yhat ? y.data<T>() : nullptr, mean,
                                          rstd, pixels, channels);
    }
    if (y_through_statistics) {
      kernels::batch_norm_backward_train(dz.device(), result.y.mutable_data<T>(), dz.data<T>(),
                                         y.data<T>(), mean, rstd, scale, result.beta.data<T>(),
                                         result.gamma.data<T>(), pixels, channels);
    } else if (want_y) {
      kernels::batch_norm_backward_eval(dz.device(), result.y.mutable_data<T>(), dz.data<T>(), rstd,
                                        scale, pixels, channels);
    }
  });
  if (!want_gamma) result.gamma = {};
  if (!want_beta) result.beta = {};
  return result;
}

void check_channel_vectors(const char* op, const Tensor& x, std::int64_t channels,
                           std::initializer_list<const Tensor*> vectors) {
  for (const Tensor* vector : vectors) {
    if (!vector->defined()) continue;
    check_compatible(op, x, *vector);
    if (vector->shape() != Shape{channels}) {
      throw Error(format_text("{}: a channel vector is {}, but there are {} channels", op,
                              to_string(vector->shape()), channels));
    }
  }
}

}  // namespace attune
