#pragma once

#include "attune/kernels/reduce.h"

// Contracts: attune/kernels/reduce.h.
namespace attune::kernels::cuda {

template <typename T>
void reduce_sum(T* y, const T* x, std::int64_t outer, std::int64_t middle, std::int64_t inner,
                T scale, bool accumulate);

template <typename T>
void reduce_max(T* y, std::int64_t* index, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner);

template <typename T>
void reduce_max_backward(T* dx, const T* dy, const std::int64_t* index, std::int64_t outer,
                         std::int64_t middle, std::int64_t inner, bool accumulate);

template <typename T>
double sum_of_squares(const T* x, std::int64_t count);

template <typename T>
bool all_finite(const T* x, std::int64_t count);

}  // namespace attune::kernels::cuda
