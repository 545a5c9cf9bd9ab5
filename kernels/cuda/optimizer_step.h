#pragma once

#include "attune/kernels/optimizer_step.h"

// Contracts: attune/kernels/optimizer_step.h.
namespace attune::kernels::cuda {

template <typename T>
void sgd_step(T* w, T* velocity, const T* grad, std::int64_t count, const SgdSettings& settings);

template <typename T>
void adam_step(T* w, T* m, T* v, const T* grad, std::int64_t count, const AdamSettings& settings);

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, double decay);

}  // namespace attune::kernels::cuda
