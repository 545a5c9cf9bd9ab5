#include "attune/kernels/reference/optimizer_step.h"

#include <cmath>

namespace attune::kernels::reference {

template <typename T>
void sgd_step(T* w, T* velocity, const T* grad, std::int64_t count, const SgdSettings& settings) {
  for (std::int64_t i = 0; i < count; ++i) {
    const double weight = w[i];
    const double g = double{grad[i]} + settings.weight_decay * weight;
    double v = g;
    if (velocity && !settings.first_step) {
      v = settings.momentum * double{velocity[i]} + (1 - settings.dampening) * g;
    }
    if (velocity) velocity[i] = static_cast<T>(v);
    w[i] = static_cast<T>(weight -
                          settings.lr.value * (settings.nesterov ? g + settings.momentum * v : v));
  }
}

template <typename T>
void adam_step(T* w, T* m, T* v, const T* grad, std::int64_t count, const AdamSettings& settings) {
  const double lr = settings.lr.value, beta1 = settings.beta1, beta2 = settings.beta2;
  const auto t = static_cast<double>(settings.step.value);
  for (std::int64_t i = 0; i < count; ++i) {
    double weight = w[i], g = grad[i];
    if (settings.decoupled) {
      weight -= lr * settings.weight_decay * weight;
    } else {
      g += settings.weight_decay * weight;
    }
    const double first = beta1 * double{m[i]} + (1 - beta1) * g;
    const double second = beta2 * double{v[i]} + (1 - beta2) * g * g;
    const double unbiased_first = first / (1 - std::pow(beta1, t));
    const double unbiased_second = second / (1 - std::pow(beta2, t));
    m[i] = static_cast<T>(first);
    v[i] = static_cast<T>(second);
    w[i] =
        static_cast<T>(weight - lr * unbiased_first / (std::sqrt(unbiased_second) + settings.eps));
  }
}

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, double decay) {
  for (std::int64_t i = 0; i < count; ++i) {
    average[i] = static_cast<T>(decay * double{average[i]} + (1 - decay) * double{w[i]});
  }
}

template void sgd_step(float*, float*, const float*, std::int64_t, const SgdSettings&);
template void sgd_step(double*, double*, const double*, std::int64_t, const SgdSettings&);
template void adam_step(float*, float*, float*, const float*, std::int64_t, const AdamSettings&);
template void adam_step(double*, double*, double*, const double*, std::int64_t,
                        const AdamSettings&);
template void ema_step(float*, const float*, std::int64_t, double);
template void ema_step(double*, const double*, std::int64_t, double);

}  // namespace attune::kernels::reference
