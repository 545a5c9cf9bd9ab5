#include "attune/kernels/reference/batch_norm.h"

#include <algorithm>
#include <cmath>

namespace attune::kernels::reference {

template <typename T>
void batch_norm_statistics(T* mean, T* var, const T* y, std::int64_t pixels,
                           std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (std::int64_t p = 0; p < pixels; ++p) sum += double{y[p * channels + c]};
    const double center = sum / static_cast<double>(pixels);
    double squares = 0;
    for (std::int64_t p = 0; p < pixels; ++p) {
      const double deviation = double{y[p * channels + c]} - center;
      squares += deviation * deviation;
    }
    mean[c] = static_cast<T>(center);
    var[c] = static_cast<T>(squares / static_cast<double>(pixels));
  }
}

template <typename T>
void batch_norm_update_running(T* running_mean, T* running_var, const T* mean, const T* var,
                               std::int64_t pixels, std::int64_t channels, T momentum) {
  const auto n = static_cast<double>(pixels);
  const double weight = momentum;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double unbiased = double{var[c]} * n / (n - 1);
    running_mean[c] =
        static_cast<T>((1 - weight) * double{running_mean[c]} + weight * double{mean[c]});
    running_var[c] = static_cast<T>((1 - weight) * double{running_var[c]} + weight * unbiased);
  }
}

template <typename T>
void batch_norm_rstd(T* rstd, const T* var, std::int64_t channels, T eps) {
  for (std::int64_t c = 0; c < channels; ++c) {
    rstd[c] = static_cast<T>(1 / std::sqrt(double{var[c]} + double{eps}));
  }
}

template <typename T>
void batch_norm_forward(T* z, const T* y, const T* mean, const T* rstd, const T* gamma,
                        const T* beta, const T* residual, bool relu, std::int64_t pixels,
                        std::int64_t channels) {
  for (std::int64_t i = 0; i < pixels * channels; ++i) {
    const std::int64_t c = i % channels;
    double value = (double{y[i]} - double{mean[c]}) * double{rstd[c]};
    if (gamma) value *= double{gamma[c]};
    if (beta) value += double{beta[c]};
    if (residual) value += double{residual[i]};
    if (relu && value < 0) value = 0;
    z[i] = static_cast<T>(value);
  }
}

template <typename T>
void batch_norm_backward_reduce(T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y, const T* mean,
                                const T* rstd, std::int64_t pixels, std::int64_t channels) {
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0, sum_yhat = 0;
    for (std::int64_t i = c; i < pixels * channels; i += channels) {
      sum += double{dz[i]};
      if (!sum_dz_yhat) continue;
      const double yhat = (double{y[i]} - double{mean[c]}) * double{rstd[c]};
      sum_yhat += double{dz[i]} * yhat;
    }
    sum_dz[c] = static_cast<T>(sum);
    if (sum_dz_yhat) sum_dz_yhat[c] = static_cast<T>(sum_yhat);
  }
}

template <typename T>
void batch_norm_backward_train(T* dy, const T* dz, const T* y, const T* mean, const T* rstd,
                               const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels) {
  for (std::int64_t i = 0; i < pixels * channels; ++i) {
    const std::int64_t c = i % channels;
    const double yhat = (double{y[i]} - double{mean[c]}) * double{rstd[c]};
    const double through_statistics =
        (double{sum_dz[c]} + yhat * double{sum_dz_yhat[c]}) / static_cast<double>(pixels);
    const double slope = (gamma ? double{gamma[c]} : 1.0) * double{rstd[c]};
    dy[i] = static_cast<T>(slope * (double{dz[i]} - through_statistics));
  }
}

template <typename T>
void batch_norm_backward_eval(T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels) {
  for (std::int64_t i = 0; i < pixels * channels; ++i) {
    const std::int64_t c = i % channels;
    const double slope = (gamma ? double{gamma[c]} : 1.0) * double{rstd[c]};
    dy[i] = static_cast<T>(slope * double{dz[i]});
  }
}

template void batch_norm_statistics(float*, float*, const float*, std::int64_t, std::int64_t);
template void batch_norm_statistics(double*, double*, const double*, std::int64_t, std::int64_t);
template void batch_norm_update_running(float*, float*, const float*, const float*, std::int64_t,
                                        std::int64_t, float);
template void batch_norm_update_running(double*, double*, const double*, const double*,
                                        std::int64_t, std::int64_t, double);
template void batch_norm_rstd(float*, const float*, std::int64_t, float);
template void batch_norm_rstd(double*, const double*, std::int64_t, double);
template void batch_norm_forward(float*, const float*, const float*, const float*, const float*,
                                 const float*, const float*, bool, std::int64_t, std::int64_t);
template void batch_norm_forward(double*, const double*, const double*, const double*,
                                 const double*, const double*, const double*, bool, std::int64_t,
                                 std::int64_t);
template void batch_norm_backward_reduce(float*, float*, const float*, const float*, const float*,
                                         const float*, std::int64_t, std::int64_t);
template void batch_norm_backward_reduce(double*, double*, const double*, const double*,
                                         const double*, const double*, std::int64_t, std::int64_t);
template void batch_norm_backward_train(float*, const float*, const float*, const float*,
                                        const float*, const float*, const float*, const float*,
                                        std::int64_t, std::int64_t);
template void batch_norm_backward_train(double*, const double*, const double*, const double*,
                                        const double*, const double*, const double*, const double*,
                                        std::int64_t, std::int64_t);
template void batch_norm_backward_eval(float*, const float*, const float*, const float*,
                                       std::int64_t, std::int64_t);
template void batch_norm_backward_eval(double*, const double*, const double*, const double*,
                                       std::int64_t, std::int64_t);

}  // namespace attune::kernels::reference
