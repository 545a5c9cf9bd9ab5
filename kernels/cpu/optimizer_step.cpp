#include "attune/kernels/cpu/optimizer_step.h"

#include <cmath>

#include "attune/kernels/cpu/channel_rows.h"

namespace attune::kernels::cpu {

template <typename T>
void sgd_step(T* w, T* velocity, const T* grad, std::int64_t count, const SgdSettings& settings) {
  const T lr = static_cast<T>(settings.lr.value),
          weight_decay = static_cast<T>(settings.weight_decay);
  const T momentum = static_cast<T>(settings.momentum);
  const T gain = static_cast<T>(1 - settings.dampening);
  // Nesterov's step is g + momentum * v, the plain one v.
  const T of_gradient = settings.nesterov ? T(1) : T(0);
  const T of_velocity = settings.nesterov ? momentum : T(1);
  parallel_for_ranges(count, kGrain, [&](Range range) {
    if (!velocity) {
#pragma omp simd
      for (std::int64_t i = range.first; i < range.last; ++i) {
        w[i] -= lr * (grad[i] + weight_decay * w[i]);
      }
      return;
    }
    // A velocity that has not started yet is not read: it may hold anything.
    if (settings.first_step) {
#pragma omp simd
      for (std::int64_t i = range.first; i < range.last; ++i) {
        velocity[i] = grad[i] + weight_decay * w[i];
        w[i] -= lr * (of_gradient + of_velocity) * velocity[i];
      }
      return;
    }
#pragma omp simd
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T g = grad[i] + weight_decay * w[i];
      velocity[i] = momentum * velocity[i] + gain * g;
      w[i] -= lr * (of_gradient * g + of_velocity * velocity[i]);
    }
  });
}

template <typename T>
void adam_step(T* w, T* m, T* v, const T* grad, std::int64_t count, const AdamSettings& settings) {
  // Whatever does not depend on the element is found once, in double.
  const auto step = static_cast<double>(settings.step.value);
  const double decay = settings.lr.value * settings.weight_decay;
  const T shrink = settings.decoupled ? static_cast<T>(1 - decay) : T(1);
  const T weight_decay = settings.decoupled ? T(0) : static_cast<T>(settings.weight_decay);
  const T beta1 = static_cast<T>(settings.beta1), rest1 = static_cast<T>(1 - settings.beta1);
  const T beta2 = static_cast<T>(settings.beta2), rest2 = static_cast<T>(1 - settings.beta2);
  const T unbias1 = static_cast<T>(1 / (1 - std::pow(settings.beta1, step)));
  const T unbias2 = static_cast<T>(1 / (1 - std::pow(settings.beta2, step)));
  const T lr = static_cast<T>(settings.lr.value), eps = static_cast<T>(settings.eps);
  parallel_for_ranges(count, kGrain, [&](Range range) {
#pragma omp simd
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T g = grad[i] + weight_decay * w[i];
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * g * g;
      w[i] = shrink * w[i] - lr * (unbias1 * m[i]) / (std::sqrt(unbias2 * v[i]) + eps);
    }
  });
}

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, double decay) {
  const T keep = static_cast<T>(decay), take = static_cast<T>(1 - decay);
  parallel_for_ranges(count, kGrain, [&](Range range) {
#pragma omp simd
    for (std::int64_t i = range.first; i < range.last; ++i) {
      average[i] = keep * average[i] + take * w[i];
    }
  });
}

template void sgd_step(float*, float*, const float*, std::int64_t, const SgdSettings&);
template void sgd_step(double*, double*, const double*, std::int64_t, const SgdSettings&);
template void adam_step(float*, float*, float*, const float*, std::int64_t, const AdamSettings&);
template void adam_step(double*, double*, double*, const double*, std::int64_t,
                        const AdamSettings&);
template void ema_step(float*, const float*, std::int64_t, double);
template void ema_step(double*, const double*, std::int64_t, double);

}  // namespace attune::kernels::cpu
