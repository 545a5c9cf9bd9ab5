#include "attune/kernels/batch_norm.h"

#include "attune/kernels/cpu/batch_norm.h"
#include "attune/kernels/cuda/batch_norm.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void batch_norm_statistics(Device device, T* mean, T* var, const T* y, std::int64_t pixels,
                           std::int64_t channels) {
  dispatch(
      device, "batch_norm_statistics",
      [&] { cpu::batch_norm_statistics(mean, var, y, pixels, channels); },
      [&] { cuda::batch_norm_statistics(mean, var, y, pixels, channels); });
}

template <typename T>
void batch_norm_update_running(Device device, T* running_mean, T* running_var, const T* mean,
                               const T* var, std::int64_t pixels, std::int64_t channels,
                               T momentum) {
  dispatch(
      device, "batch_norm_update_running",
      [&] {
        cpu::batch_norm_update_running(running_mean, running_var, mean, var, pixels, channels,
                                       momentum);
      },
      [&] {
        cuda::batch_norm_update_running(running_mean, running_var, mean, var, pixels, channels,
                                        momentum);
      });
}

template <typename T>
void batch_norm_rstd(Device device, T* rstd, const T* var, std::int64_t channels, T eps) {
  dispatch(
      device, "batch_norm_rstd", [&] { cpu::batch_norm_rstd(rstd, var, channels, eps); },
      [&] { cuda::batch_norm_rstd(rstd, var, channels, eps); });
}

template <typename T>
void batch_norm_forward(Device device, T* z, const T* y, const T* mean, const T* rstd,
                        const T* gamma, const T* beta, const T* residual, bool relu,
                        std::int64_t pixels, std::int64_t channels) {
  dispatch(
      device, "batch_norm_forward",
      [&] {
        cpu::batch_norm_forward(z, y, mean, rstd, gamma, beta, residual, relu, pixels, channels);
      },
      [&] {
        cuda::batch_norm_forward(z, y, mean, rstd, gamma, beta, residual, relu, pixels, channels);
      });
}

template <typename T>
void batch_norm_backward_reduce(Device device, T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y,
                                const T* mean, const T* rstd, std::int64_t pixels,
                                std::int64_t channels) {
  dispatch(
      device, "batch_norm_backward_reduce",
      [&] {
        cpu::batch_norm_backward_reduce(sum_dz, sum_dz_yhat, dz, y, mean, rstd, pixels, channels);
      },
      [&] {
        cuda::batch_norm_backward_reduce(sum_dz, sum_dz_yhat, dz, y, mean, rstd, pixels, channels);
      });
}

template <typename T>
void batch_norm_backward_train(Device device, T* dy, const T* dz, const T* y, const T* mean,
                               const T* rstd, const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels) {
  dispatch(
      device, "batch_norm_backward_train",
      [&] {
        cpu::batch_norm_backward_train(dy, dz, y, mean, rstd, gamma, sum_dz, sum_dz_yhat, pixels,
                                       channels);
      },
      [&] {
        cuda::batch_norm_backward_train(dy, dz, y, mean, rstd, gamma, sum_dz, sum_dz_yhat, pixels,
                                        channels);
      });
}

template <typename T>
void batch_norm_backward_eval(Device device, T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels) {
  dispatch(
      device, "batch_norm_backward_eval",
      [&] { cpu::batch_norm_backward_eval(dy, dz, rstd, gamma, pixels, channels); },
      [&] { cuda::batch_norm_backward_eval(dy, dz, rstd, gamma, pixels, channels); });
}

template void batch_norm_statistics(Device, float*, float*, const float*, std::int64_t,
                                    std::int64_t);
template void batch_norm_statistics(Device, double*, double*, const double*, std::int64_t,
                                    std::int64_t);
template void batch_norm_update_running(Device, float*, float*, const float*, const float*,
                                        std::int64_t, std::int64_t, float);
template void batch_norm_update_running(Device, double*, double*, const double*, const double*,
                                        std::int64_t, std::int64_t, double);
template void batch_norm_rstd(Device, float*, const float*, std::int64_t, float);
template void batch_norm_rstd(Device, double*, const double*, std::int64_t, double);
template void batch_norm_forward(Device, float*, const float*, const float*, const float*,
                                 const float*, const float*, const float*, bool, std::int64_t,
                                 std::int64_t);
template void batch_norm_forward(Device, double*, const double*, const double*, const double*,
                                 const double*, const double*, const double*, bool, std::int64_t,
                                 std::int64_t);
template void batch_norm_backward_reduce(Device, float*, float*, const float*, const float*,
                                         const float*, const float*, std::int64_t, std::int64_t);
template void batch_norm_backward_reduce(Device, double*, double*, const double*, const double*,
                                         const double*, const double*, std::int64_t, std::int64_t);
template void batch_norm_backward_train(Device, float*, const float*, const float*, const float*,
                                        const float*, const float*, const float*, const float*,
                                        std::int64_t, std::int64_t);
template void batch_norm_backward_train(Device, double*, const double*, const double*,
                                        const double*, const double*, const double*, const double*,
                                        const double*, std::int64_t, std::int64_t);
template void batch_norm_backward_eval(Device, float*, const float*, const float*, const float*,
                                       std::int64_t, std::int64_t);
template void batch_norm_backward_eval(Device, double*, const double*, const double*, const double*,
                                       std::int64_t, std::int64_t);

}  // namespace attune::kernels
