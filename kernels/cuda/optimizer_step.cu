#include <algorithm>
#include <cmath>

#include "attune/kernels/cuda/optimizer_step.h"
#include "attune/kernels/cuda/parallel.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernel: the tensors of a network are many and mostly small, so one launch does them all ----

constexpr std::int64_t kBlockElements = 16 * kThreads;
constexpr std::size_t kMostTensors = 64;  // a table is an argument, which may have 4 KB

template <typename Tensor>
struct Table {
  Tensor tensors[kMostTensors];
  unsigned end[kMostTensors];  // the number of the first block that is not this tensor's
};

template <typename Tensor, typename Update>
__global__ void update_kernel(const Table<Tensor> table, Update update) {
  update.begin();
  unsigned t = 0;
  while (blockIdx.x >= table.end[t]) ++t;
  const Tensor& tensor = table.tensors[t];
  const std::int64_t block = blockIdx.x - (t == 0 ? 0 : table.end[t - 1]);
  const std::int64_t last =
      tensor.count < (block + 1) * kBlockElements ? tensor.count : (block + 1) * kBlockElements;
  for (std::int64_t i = block * kBlockElements + threadIdx.x; i < last; i += kThreads) {
    update(tensor, i);
  }
}

// Calls update(tensor, i) for each element i of each tensor; update.begin() before, once a thread.
template <typename Tensor, typename Update>
void for_each_element(std::span<const Tensor> tensors, const Update& update) {
  while (!tensors.empty()) {
    Table<Tensor> table{};
    const std::size_t size = std::min(tensors.size(), kMostTensors);
    std::int64_t blocks = 0;
    for (std::size_t t = 0; t < size; ++t) {
      blocks += (tensors[t].count + kBlockElements - 1) / kBlockElements;
      table.tensors[t] = tensors[t];
      table.end[t] = static_cast<unsigned>(blocks);
    }
    launch(update_kernel<Tensor, Update>, static_cast<unsigned>(blocks), kThreads, 0, stream(),
           table, update);
    tensors = tensors.subspan(size);
  }
}

template <typename T>
struct SgdUpdate {
  StepValue<double> lr;
  T weight_decay, momentum, gain;
  bool nesterov, first_step;
  T rate = 0;

  __device__ void begin() { rate = static_cast<T>(lr.get()); }

  __device__ void operator()(const SgdTensor<T>& tensor, std::int64_t i) const {
    const T g = tensor.grad[i] + weight_decay * tensor.w[i];
    if (tensor.velocity == nullptr) {
      tensor.w[i] -= rate * g;
      return;
    }
    // A velocity that has not started yet is not read: it may hold anything.
    const T v = first_step ? g : momentum * tensor.velocity[i] + gain * g;
    tensor.velocity[i] = v;
    tensor.w[i] -= rate * (nesterov ? g + momentum * v : v);
  }
};

template <typename T>
struct AdamUpdate {
  AdamSettings settings;
  T beta1, rest1, beta2, rest2, eps;
  T rate = 0, shrink = 1, weight_decay = 0, unbias1 = 0, unbias2 = 0;

  __device__ void begin() {
    const double lr = settings.lr.get();
    const auto step = static_cast<double>(settings.step.get());
    rate = static_cast<T>(lr);
    if (settings.decoupled) {
      shrink = static_cast<T>(1 - lr * settings.weight_decay);
    } else {
      weight_decay = static_cast<T>(settings.weight_decay);
    }
    unbias1 = static_cast<T>(1 / (1 - std::pow(settings.beta1, step)));
    unbias2 = static_cast<T>(1 / (1 - std::pow(settings.beta2, step)));
  }

  __device__ void operator()(const AdamTensor<T>& tensor, std::int64_t i) const {
    const T g = tensor.grad[i] + weight_decay * tensor.w[i];
    const T m = beta1 * tensor.m[i] + rest1 * g;
    const T v = beta2 * tensor.v[i] + rest2 * g * g;
    tensor.m[i] = m;
    tensor.v[i] = v;
    tensor.w[i] = shrink * tensor.w[i] - rate * (unbias1 * m) / (std::sqrt(unbias2 * v) + eps);
  }
};

}  // namespace

// ---- launchers: the settings become constants of type T, found once in double ----

template <typename T>
void sgd_step(std::span<const SgdTensor<T>> tensors, const SgdSettings& settings) {
  for_each_element(tensors, SgdUpdate<T>{.lr = settings.lr,
                                         .weight_decay = static_cast<T>(settings.weight_decay),
                                         .momentum = static_cast<T>(settings.momentum),
                                         .gain = static_cast<T>(1 - settings.dampening),
                                         .nesterov = settings.nesterov,
                                         .first_step = settings.first_step});
}

template <typename T>
void adam_step(std::span<const AdamTensor<T>> tensors, const AdamSettings& settings) {
  for_each_element(tensors, AdamUpdate<T>{.settings = settings,
                                          .beta1 = static_cast<T>(settings.beta1),
                                          .rest1 = static_cast<T>(1 - settings.beta1),
                                          .beta2 = static_cast<T>(settings.beta2),
                                          .rest2 = static_cast<T>(1 - settings.beta2),
                                          .eps = static_cast<T>(settings.eps)});
}

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, StepValue<double> decay) {
  for_each(count, [=] __device__(std::int64_t i) {
    const double keep = decay.get();
    average[i] = static_cast<T>(keep) * average[i] + static_cast<T>(1 - keep) * w[i];
  });
}

template void sgd_step(std::span<const SgdTensor<float>>, const SgdSettings&);
template void sgd_step(std::span<const SgdTensor<double>>, const SgdSettings&);
template void adam_step(std::span<const AdamTensor<float>>, const AdamSettings&);
template void adam_step(std::span<const AdamTensor<double>>, const AdamSettings&);
template void ema_step(float*, const float*, std::int64_t, StepValue<double>);
template void ema_step(double*, const double*, std::int64_t, StepValue<double>);

}  // namespace attune::kernels::cuda
