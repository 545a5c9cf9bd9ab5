#include "attune/kernels/reduce.h"

#include "attune/kernels/cpu/reduce.h"
#include "attune/kernels/cuda/reduce.h"
#include "attune/kernels/dispatch.h"

namespace attune::kernels {

template <typename T>
void reduce_sum(Device device, T* y, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner, T scale, bool accumulate) {
  dispatch(
      device, "reduce_sum", [&] { cpu::reduce_sum(y, x, outer, middle, inner, scale, accumulate); },
      [&] { cuda::reduce_sum(y, x, outer, middle, inner, scale, accumulate); });
}

template <typename T>
void reduce_max(Device device, T* y, std::int64_t* index, const T* x, std::int64_t outer,
                std::int64_t middle, std::int64_t inner) {
  dispatch(
      device, "reduce_max", [&] { cpu::reduce_max(y, index, x, outer, middle, inner); },
      [&] { cuda::reduce_max(y, index, x, outer, middle, inner); });
}

template <typename T>
void reduce_max_backward(Device device, T* dx, const T* dy, const std::int64_t* index,
                         std::int64_t outer, std::int64_t middle, std::int64_t inner,
                         bool accumulate) {
  dispatch(
      device, "reduce_max_backward",
      [&] { cpu::reduce_max_backward(dx, dy, index, outer, middle, inner, accumulate); },
      [&] { cuda::reduce_max_backward(dx, dy, index, outer, middle, inner, accumulate); });
}

template <typename T>
double sum_of_squares(Device device, const T* x, std::int64_t count) {
  double result = 0;
  dispatch(
      device, "sum_of_squares", [&] { result = cpu::sum_of_squares(x, count); },
      [&] { result = cuda::sum_of_squares(x, count); });
  return result;
}

template <typename T>
bool all_finite(Device device, const T* x, std::int64_t count) {
  bool result = true;
  dispatch(
      device, "all_finite", [&] { result = cpu::all_finite(x, count); },
      [&] { result = cuda::all_finite(x, count); });
  return result;
}

template void reduce_sum(Device, float*, const float*, std::int64_t, std::int64_t, std::int64_t,
                         float, bool);
template void reduce_sum(Device, double*, const double*, std::int64_t, std::int64_t, std::int64_t,
                         double, bool);
template void reduce_max(Device, float*, std::int64_t*, const float*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max(Device, double*, std::int64_t*, const double*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max_backward(Device, float*, const float*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template void reduce_max_backward(Device, double*, const double*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template double sum_of_squares(Device, const float*, std::int64_t);
template double sum_of_squares(Device, const double*, std::int64_t);
template bool all_finite(Device, const float*, std::int64_t);
template bool all_finite(Device, const double*, std::int64_t);

}  // namespace attune::kernels
