#include "attune/kernels/fold_batch_norm.h"

#include "attune/kernels/cpu/fold_batch_norm.h"
#include "attune/kernels/cuda/fold_batch_norm.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void fold_batch_norm_forward(Device device, T* w_folded, T* b_folded, const T* w, const T* b,
                             const T* gamma, const T* beta, const T* mean, const T* var, T eps,
                             const FilterChannels& filter) {
  dispatch(
      device, "fold_batch_norm_forward",
      [&] {
        cpu::fold_batch_norm_forward(w_folded, b_folded, w, b, gamma, beta, mean, var, eps, filter);
      },
      [&] {
        cuda::fold_batch_norm_forward(w_folded, b_folded, w, b, gamma, beta, mean, var, eps,
                                      filter);
      });
}

template <typename T>
void fold_batch_norm_backward(Device device, T* dw, T* db, T* dgamma, T* dbeta, const T* dw_folded,
                              const T* db_folded, const T* w, const T* b, const T* gamma,
                              const T* mean, const T* var, T eps, const FilterChannels& filter) {
  dispatch(
      device, "fold_batch_norm_backward",
      [&] {
        cpu::fold_batch_norm_backward(dw, db, dgamma, dbeta, dw_folded, db_folded, w, b, gamma,
                                      mean, var, eps, filter);
      },
      [&] {
        cuda::fold_batch_norm_backward(dw, db, dgamma, dbeta, dw_folded, db_folded, w, b, gamma,
                                       mean, var, eps, filter);
      });
}

template void fold_batch_norm_forward(Device, float*, float*, const float*, const float*,
                                      const float*, const float*, const float*, const float*, float,
                                      const FilterChannels&);
template void fold_batch_norm_forward(Device, double*, double*, const double*, const double*,
                                      const double*, const double*, const double*, const double*,
                                      double, const FilterChannels&);
template void fold_batch_norm_backward(Device, float*, float*, float*, float*, const float*,
                                       const float*, const float*, const float*, const float*,
                                       const float*, const float*, float, const FilterChannels&);
template void fold_batch_norm_backward(Device, double*, double*, double*, double*, const double*,
                                       const double*, const double*, const double*, const double*,
                                       const double*, const double*, double, const FilterChannels&);

}  // namespace attune::kernels
