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

// Calls update(tensor, i) for each element i of each tensor.
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

}  // namespace

// ---- launchers: the settings become constants of type T, found once in double ----

template <typename T>
void sgd_step(std::span<const SgdTensor<T>> tensors, const SgdSettings& settings) {
  const T lr = static_cast<T>(settings.lr), weight_decay = static_cast<T>(settings.weight_decay);
  const T momentum = static_cast<T>(settings.momentum);
  const T gain = static_cast<T>(1 - settings.dampening);
  const bool nesterov = settings.nesterov, first_step = settings.first_step;
  for_each_element(tensors, [=] __device__(const SgdTensor<T>& tensor, std::int64_t i) {
    const T g = tensor.grad[i] + weight_decay * tensor.w[i];
    if (tensor.velocity == nullptr) {
      tensor.w[i] -= lr * g;
      return;
    }
    // A velocity that has not started yet is not read: it may hold anything.
    const T v = first_step ? g : momentum * tensor.velocity[i] + gain * g;
    tensor.velocity[i] = v;
    tensor.w[i] -= lr * (nesterov ? g + momentum * v : v);
  });
}

template <typename T>
void adam_step(std::span<const AdamTensor<T>> tensors, const AdamSettings& settings) {
  const auto step = static_cast<double>(settings.step);
  const double decay = settings.lr * settings.weight_decay;
  const T shrink = settings.decoupled ? static_cast<T>(1 - decay) : T(1);
  const T weight_decay = settings.decoupled ? T(0) : static_cast<T>(settings.weight_decay);
  const T beta1 = static_cast<T>(settings.beta1), rest1 = static_cast<T>(1 - settings.beta1);
  const T beta2 = static_cast<T>(settings.beta2), rest2 = static_cast<T>(1 - settings.beta2);
  const T unbias1 = static_cast<T>(1 / (1 - std::pow(settings.beta1, step)));
  const T unbias2 = static_cast<T>(1 / (1 - std::pow(settings.beta2, step)));
  const T lr = static_cast<T>(settings.lr), eps = static_cast<T>(settings.eps);
  for_each_element(tensors, [=] __device__(const AdamTensor<T>& tensor, std::int64_t i) {
    const T g = tensor.grad[i] + weight_decay * tensor.w[i];
    const T m = beta1 * tensor.m[i] + rest1 * g;
    const T v = beta2 * tensor.v[i] + rest2 * g * g;
    tensor.m[i] = m;
    tensor.v[i] = v;
    tensor.w[i] = shrink * tensor.w[i] - lr * (unbias1 * m) / (std::sqrt(unbias2 * v) + eps);
  });
}

template <typename T>
void ema_step(T* average, const T* w, std::int64_t count, double decay) {
  const T keep = static_cast<T>(decay), take = static_cast<T>(1 - decay);
  for_each(count, [=] __device__(std::int64_t i) { average[i] = keep * average[i] + take * w[i]; });
}

template void sgd_step(std::span<const SgdTensor<float>>, const SgdSettings&);
template void sgd_step(std::span<const SgdTensor<double>>, const SgdSettings&);
template void adam_step(std::span<const AdamTensor<float>>, const AdamSettings&);
template void adam_step(std::span<const AdamTensor<double>>, const AdamSettings&);
template void ema_step(float*, const float*, std::int64_t, double);
template void ema_step(double*, const double*, std::int64_t, double);

}  // namespace attune::kernels::cuda
