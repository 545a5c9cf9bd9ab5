#include "attune/kernels/optimizer_step.h"

#include "attune/kernels/cpu/optimizer_step.h"
#include "attune/kernels/cuda/optimizer_step.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void sgd_step(Device device, std::span<const SgdTensor<T>> tensors, const SgdSettings& settings) {
  const auto on_cpu = [&] {
    for (const SgdTensor<T>& t : tensors) {
      cpu::sgd_step(t.w, t.velocity, t.grad, t.count, settings);
    }
  };
  dispatch(device, "sgd_step", on_cpu, [&] { cuda::sgd_step(tensors, settings); });
}

template <typename T>
void adam_step(Device device, std::span<const AdamTensor<T>> tensors,
               const AdamSettings& settings) {
  const auto on_cpu = [&] {
    for (const AdamTensor<T>& t : tensors) {
      cpu::adam_step(t.w, t.m, t.v, t.grad, t.count, settings);
    }
  };
  dispatch(device, "adam_step", on_cpu, [&] { cuda::adam_step(tensors, settings); });
}

template <typename T>
void ema_step(Device device, T* average, const T* w, std::int64_t count, StepValue<double> decay) {
  dispatch(
      device, "ema_step", [&] { cpu::ema_step(average, w, count, decay.value); },
      [&] { cuda::ema_step(average, w, count, decay); });
}

template void sgd_step(Device, std::span<const SgdTensor<float>>, const SgdSettings&);
template void sgd_step(Device, std::span<const SgdTensor<double>>, const SgdSettings&);
template void adam_step(Device, std::span<const AdamTensor<float>>, const AdamSettings&);
template void adam_step(Device, std::span<const AdamTensor<double>>, const AdamSettings&);
template void ema_step(Device, float*, const float*, std::int64_t, StepValue<double>);
template void ema_step(Device, double*, const double*, std::int64_t, StepValue<double>);

}  // namespace attune::kernels
