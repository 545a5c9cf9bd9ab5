#include <cmath>

#include "attune/kernels/cuda/optimizer_step.h"
#include "attune/kernels/cuda/parallel.h"

namespace attune::kernels::cuda {

// ---- kernels and launchers: the settings become constants of type T, found once in double ----

template <typename T>
void sgd_step(T* w, T* velocity, const T* grad, std::int64_t count, const SgdSettings& settings) {
  const T lr = static_cast<T>(settings.lr), weight_decay = static_cast<T>(settings.weight_decay);
  const T momentum = static_cast<T>(settings.momentum);
  const T gain = static_cast<T>(1 - settings.dampening);
  const bool nesterov = settings.nesterov, first_step = settings.first_step;
  for_each(count, [=] __device__(std::int64_t i) {
    const T g = grad[i] + weight_decay * w[i];
    if (velocity == nullptr) {
      w[i] -= lr * g;
      return;
    }
    // A velocity that has not started yet is not read: it may hold anything.
    const T v = first_step ? g : momentum * velocity[i] + gain * g;
    velocity[i] = v;
    w[i] -= lr * (nesterov ? g + momentum * v : v);
  });
}

template <typename T>
void adam_step(T* w, T* m, T* v, const T* grad, std::int64_t count, const AdamSettings& settings) {
  const auto step = static_cast<double>(settings.step);
  const double decay = settings.lr * settings.weight_decay;
  const T shrink = settings.decoupled ? static_cast<T>(1 - decay) : T(1);
  const T weight_decay = settings.decoupled ? T(0) : static_cast<T>(settings.weight_decay);
  const T beta1 = static_cast<T>(settings.beta1), rest1 = static_cast<T>(1 - settings.beta1);
  const T beta2 = static_cast<T>(settings.beta2), rest2 = static_cast<T>(1 - settings.beta2);
  const T unbias1 = static_cast<T>(1 / (1 - std::pow(settings.beta1, step)));
  const T unbias2 = static_cast<T>(1 / (1 - std::pow(settings.beta2, step)));
  const T lr = static_cast<T>(settings.lr), eps = static_cast<T>(settings.eps);
  for_each(count, [=] __device__(std::int64_t i) {
    const T g = grad[i] + weight_decay * w[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    w[i] = shrink * w[i] - lr * (unbias1 * m[i]) / (std::sqrt(unbias2 * v[i]) + eps);
  });
}

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, double decay) {
  const T keep = static_cast<T>(decay), take = static_cast<T>(1 - decay);
  for_each(count, [=] __device__(std::int64_t i) { average[i] = keep * average[i] + take * w[i]; });
}

template void sgd_step(float*, float*, const float*, std::int64_t, const SgdSettings&);
template void sgd_step(double*, double*, const double*, std::int64_t, const SgdSettings&);
template void adam_step(float*, float*, float*, const float*, std::int64_t, const AdamSettings&);
template void adam_step(double*, double*, double*, const double*, std::int64_t,
                        const AdamSettings&);
template void ema_step(float*, const float*, std::int64_t, double);
template void ema_step(double*, const double*, std::int64_t, double);

}  // namespace attune::kernels::cuda
