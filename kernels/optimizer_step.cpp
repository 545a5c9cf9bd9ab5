#include "attune/kernels/optimizer_step.h"

#include "attune/kernels/cpu/optimizer_step.h"
#include "attune/kernels/cuda/optimizer_step.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void sgd_step(Device device, T* w, T* velocity, const T* grad, std::int64_t count,
              const SgdSettings& settings) {
  dispatch(
      device, "sgd_step", [&] { cpu::sgd_step(w, velocity, grad, count, settings); },
      [&] { cuda::sgd_step(w, velocity, grad, count, settings); });
}

template <typename T>
void adam_step(Device device, T* w, T* m, T* v, const T* grad, std::int64_t count,
               const AdamSettings& settings) {
  dispatch(
      device, "adam_step", [&] { cpu::adam_step(w, m, v, grad, count, settings); },
      [&] { cuda::adam_step(w, m, v, grad, count, settings); });
}

template <typename T>
void ema_step(Device device, T* average, const T* w, std::int64_t count, double decay) {
  dispatch(
      device, "ema_step", [&] { cpu::ema_step(average, w, count, decay); },
      [&] { cuda::ema_step(average, w, count, decay); });
}

template void sgd_step(Device, float*, float*, const float*, std::int64_t, const SgdSettings&);
template void sgd_step(Device, double*, double*, const double*, std::int64_t, const SgdSettings&);
template void adam_step(Device, float*, float*, float*, const float*, std::int64_t,
                        const AdamSettings&);
template void adam_step(Device, double*, double*, double*, const double*, std::int64_t,
                        const AdamSettings&);
template void ema_step(Device, float*, const float*, std::int64_t, double);
template void ema_step(Device, double*, const double*, std::int64_t, double);

}  // namespace attune::kernels
