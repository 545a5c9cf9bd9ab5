#pragma once

#include "attune/kernels/batch_norm.h"

// Contracts: attune/kernels/batch_norm.h.
namespace attune::kernels::cuda {

template <typename T>
void batch_norm_statistics(T* mean, T* var, const T* y, std::int64_t pixels, std::int64_t channels);

template <typename T>
void batch_norm_update_running(T* running_mean, T* running_var, const T* mean, const T* var,
                               std::int64_t pixels, std::int64_t channels, T momentum);

template <typename T>
void batch_norm_rstd(T* rstd, const T* var, std::int64_t channels, T eps);

template <typename T>
void batch_norm_forward(T* z, const T* y, const T* mean, const T* rstd, const T* gamma,
                        const T* beta, const T* residual, bool relu, std::int64_t pixels,
                        std::int64_t channels);

template <typename T>
void batch_norm_backward_reduce(T* sum_dz, T* sum_dz_yhat, const T* dz, const T* y, const T* mean,
                                const T* rstd, std::int64_t pixels, std::int64_t channels);

template <typename T>
void batch_norm_backward_train(T* dy, const T* dz, const T* y, const T* mean, const T* rstd,
                               const T* gamma, const T* sum_dz, const T* sum_dz_yhat,
                               std::int64_t pixels, std::int64_t channels);

template <typename T>
void batch_norm_backward_eval(T* dy, const T* dz, const T* rstd, const T* gamma,
                              std::int64_t pixels, std::int64_t channels);

}  // namespace attune::kernels::cuda
