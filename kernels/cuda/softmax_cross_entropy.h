#pragma once

#include "attune/kernels/softmax_cross_entropy.h"

// Contracts: attune/kernels/softmax_cross_entropy.h.
namespace attune::kernels::cuda {

template <typename T>
void softmax_cross_entropy_forward(T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing);

template <typename T>
void softmax_cross_entropy_backward(T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate);

}  // namespace attune::kernels::cuda
