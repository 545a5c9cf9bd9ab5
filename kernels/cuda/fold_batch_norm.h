#pragma once

#include "attune/kernels/fold_batch_norm.h"

// Contracts: attune/kernels/fold_batch_norm.h.
namespace attune::kernels::cuda {

template <typename T>
void fold_batch_norm_forward(T* w_folded, T* b_folded, const T* w, const T* b, const T* gamma,
                             const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter);

template <typename T>
void fold_batch_norm_backward(T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter);

}  // namespace attune::kernels::cuda
