#include <cmath>

#include "attune/kernels/cuda/batch_norm.h"
#include "attune/kernels/cuda/reduce_middle.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

// Sums of deviations from a value close to the mean, and of their squares. With any element of the
// channel for that value, |mean| >> sigma costs no digits, as with Welford's recurrence, but there
// is no division for each element; and sums from different threads are simply added.
struct Deviations {
  double sum = 0, squares = 0;

  __device__ void add(const Deviations& other) {
    sum += other.sum;
    squares += other.squares;
  }
};

// The two sums that the backward pass needs.
struct Gradients {
  double dz = 0, dz_yhat = 0;

  __device__ void add(const Gradients& other) {
    dz += other.dz;
    dz_yhat += other.dz_yhat;
  }
};

}  // namespace

// ---- launchers ----

template <typename T>
void batch_norm_statistics(T* mean, T* var, const T* y, std::int64_t pixels,
                           std::int64_t channels) {
  reduce_middle<Deviations>(
      {1, pixels, channels},
      [=] __device__(Deviations & sums, std::int64_t, std::int64_t pixel, std::int64_t c) {
        const double deviation =
            static_cast<double>(y[pixel * channels + c]) - static_cast<double>(y[c]);
        sums.sum += deviation;
        sums.squares += deviation * deviation;
      },
      [=] __device__(std::int64_t c, const Deviations& sums) {
        const auto n = static_cast<double>(pixels);
        const double shift = sums.sum / n;
        const double variance = sums.squares / n - shift * shift;
        mean[c] = static_cast<T>(static_cast<double>(y[c]) + shift);
        var[c] = static_cast<T>(variance < 0 ? 0 : variance);  // NaN stays NaN
      });
}

template <typename T>
void batch_norm_update_running(T* running_mean, T* running_var, const T* mean, const T* var,
                               std::int64_t pixels, std::int64_t channels, T momentum) {
  for_each(channels, [=] __device__(std::int64_t c) {
    const auto n = static_cast<T>(pixels);
    const T unbiased = var[c] * (n / (n - 1));
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
    running_var[c] = (1 - momentum) * running_var[c] + momentum * unbiased;
  });
}

template <typename T>
void batch_norm_rstd(T* rstd, const T* var, std::int64_t channels, T eps) {
  for_each(channels, [=] __device__(std::int64_t c) { rstd[c] = 1 / std::sqrt(var[c] + eps); });
}

template <typename T>
void batch_norm_forward(T* z, const T* y, const T* mean, const T* rstd, const T* gamma,
                        const T* beta, const T* residual, bool relu, std::int64_t pixels,
                        std::int64_t channels) {
  for_each(pixels * channels, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % channels;
    const T slope = rstd[c] * value_or(gamma, c, T(1));
    T value = (y[i] - mean[c]) * slope + value_or(beta, c, T(0));
    if (residual != nullptr) value += residual[i];
    z[i] = relu && value < 0 ? T(0) : value;
  });
}

template <typename T>
void batch_norm_backward_reduce(T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y, const T* mean,
                                const T* rstd, std::int64_t pixels, std::int64_t channels) {
  reduce_middle<Gradients>(
      {1, pixels, channels},
      [=] __device__(Gradients & sums, std::int64_t, std::int64_t pixel, std::int64_t c) {
        const std::int64_t i = pixel * channels + c;
        sums.dz += static_cast<double>(dz[i]);
        if (sum_dz_yhat == nullptr) return;
        const T yhat = (y[i] - mean[c]) * rstd[c];
        sums.dz_yhat += static_cast<double>(dz[i]) * static_cast<double>(yhat);
      },
      [=] __device__(std::int64_t c, const Gradients& sums) {
        sum_dz[c] = static_cast<T>(sums.dz);
        if (sum_dz_yhat != nullptr) sum_dz_yhat[c] = static_cast<T>(sums.dz_yhat);
      });
}

template <typename T>
void batch_norm_backward_train(T* dy, const T* dz, const T* y, const T* mean, const T* rstd,
                               const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels) {
  for_each(pixels * channels, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % channels;
    const T share = 1 / static_cast<T>(pixels);
    const T yhat = (y[i] - mean[c]) * rstd[c];
    const T through_statistics = (sum_dz[c] + yhat * sum_dz_yhat[c]) * share;
    dy[i] = value_or(gamma, c, T(1)) * rstd[c] * (dz[i] - through_statistics);
  });
}

template <typename T>
void batch_norm_backward_eval(T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels) {
  for_each(pixels * channels, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % channels;
    dy[i] = value_or(gamma, c, T(1)) * rstd[c] * dz[i];
  });
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

}  // namespace attune::kernels::cuda
