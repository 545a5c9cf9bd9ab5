#pragma once

#include "attune/kernels/optimizer_step.h"

// Contracts: attune/kernels/optimizer_step.h.
namespace attune::kernels::cuda {

template <typename T>
void sgd_step(std::span<const SgdTensor<T>> tensors, const SgdSettings& settings);

template <typename T>
void adam_step(std::span<const AdamTensor<T>> tensors, const AdamSettings& settings);

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, StepValue<double> decay);

}  // namespace attune::kernels::cuda
