#include "attune/kernels/softmax_cross_entropy.h"

#include "attune/kernels/cpu/softmax_cross_entropy.h"
#include "attune/kernels/cuda/softmax_cross_entropy.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void softmax_cross_entropy_forward(Device device, T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing) {
  dispatch(
      device, "softmax_cross_entropy_forward",
      [&] {
        cpu::softmax_cross_entropy_forward(loss, log_sum_exp, logits, targets, rows, classes,
                                           smoothing);
      },
      [&] {
        cuda::softmax_cross_entropy_forward(loss, log_sum_exp, logits, targets, rows, classes,
                                            smoothing);
      });
}

template <typename T>
void softmax_cross_entropy_backward(Device device, T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate) {
  dispatch(
      device, "softmax_cross_entropy_backward",
      [&] {
        cpu::softmax_cross_entropy_backward(dlogits, dloss, logits, log_sum_exp, targets, rows,
                                            classes, smoothing, accumulate);
      },
      [&] {
        cuda::softmax_cross_entropy_backward(dlogits, dloss, logits, log_sum_exp, targets, rows,
                                             classes, smoothing, accumulate);
      });
}

template void softmax_cross_entropy_forward(Device, float*, float*, const float*,
                                            const std::int64_t*, std::int64_t, std::int64_t, float);
template void softmax_cross_entropy_forward(Device, double*, double*, const double*,
                                            const std::int64_t*, std::int64_t, std::int64_t,
                                            double);
template void softmax_cross_entropy_backward(Device, float*, const float*, const float*,
                                             const float*, const std::int64_t*, std::int64_t,
                                             std::int64_t, float, bool);
template void softmax_cross_entropy_backward(Device, double*, const double*, const double*,
                                             const double*, const std::int64_t*, std::int64_t,
                                             std::int64_t, double, bool);

}  // namespace attune::kernels
