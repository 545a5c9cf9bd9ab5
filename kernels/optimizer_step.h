#pragma once

#include <cstdint>
#include <span>

#include "attune/kernels/device.h"
#include "attune/kernels/step_value.h"

namespace attune::kernels {

/// A parameter in a step of SGD: `count` weights, the gradient and the velocity of each.
template <typename T>
struct SgdTensor {
  T* w = nullptr;
  T* velocity = nullptr;  ///< may be null if momentum is 0
  const T* grad = nullptr;
  std::int64_t count = 0;
};

/// A parameter in a step of Adam: `count` weights, the two moments and the gradient of each.
template <typename T>
struct AdamTensor {
  T* w = nullptr;
  T* m = nullptr;
  T* v = nullptr;
  const T* grad = nullptr;
  std::int64_t count = 0;
};

/// Settings of one SGD update, as PyTorch defines them.
struct SgdSettings {
  StepValue<double> lr = 0;
  double momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  bool first_step = false;  ///< the velocity starts as the gradient itself, without dampening
};

/// One step of SGD, of each of the tensors; on a GPU, of many in one launch:
///
///     g = grad + weight_decay * w
///     v = momentum * v + (1 - dampening) * g     (first step: v = g, and v is not read)
///     w -= lr * (nesterov ? g + momentum * v : v)
///
/// Without a velocity, v = g.
template <typename T>
void sgd_step(Device device, std::span<const SgdTensor<T>> tensors, const SgdSettings& settings);

/// Settings of one Adam update. `step` counts from 1.
struct AdamSettings {
  StepValue<double> lr = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false;  ///< AdamW: w shrinks by lr * weight_decay, outside the moments
  StepValue<std::int64_t> step = 1;
};

/// Likewise one step of Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), or of AdamW (Loshchilov
/// and Hutter, arXiv 1711.05101, algorithm 2):
///
///     g = grad + weight_decay * w                    (AdamW: g = grad)
///     m = beta1 * m + (1 - beta1) * g
///     v = beta2 * v + (1 - beta2) * g^2
///     w -= lr * (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
///                                                    (AdamW: and lr * weight_decay * w besides)
///
/// `m` and `v` are the first and second moments, zeros before the first step.
template <typename T>
void adam_step(Device device, std::span<const AdamTensor<T>> tensors, const AdamSettings& settings);

/// average = decay * average + (1 - decay) * w.
template <typename T>
void ema_step(Device device, T* average, const T* w, std::int64_t count, StepValue<double> decay);

}  // namespace attune::kernels
