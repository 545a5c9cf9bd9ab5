#include "attune/kernels/reference/reduce.h"

#include <cmath>

namespace attune::kernels::reference {

template <typename T>
void reduce_sum(T* y, const T* x, std::int64_t outer, std::int64_t middle, std::int64_t inner,
                T scale, bool accumulate) {
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      double sum = 0;
      for (std::int64_t m = 0; m < middle; ++m) {
        sum += double{x[(o * middle + m) * inner + i]};
      }
      T& target = y[o * inner + i];
      const double before = accumulate ? double{target} : 0.0;
      target = static_cast<T>(before + double{scale} * sum);
    }
}

template <typename T>
void reduce_max(T* y, std::int64_t* index, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner) {
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      const T* column = x + o * middle * inner + i;
      std::int64_t best = 0;
      for (std::int64_t m = 1; m < middle && !std::isnan(column[best * inner]); ++m) {
        const T candidate = column[m * inner];
        if (candidate > column[best * inner] || std::isnan(candidate)) best = m;
      }
      y[o * inner + i] = column[best * inner];
      if (index) index[o * inner + i] = best;
    }
}

template <typename T>
void reduce_max_backward(T* dx, const T* dy, const std::int64_t* index, std::int64_t outer,
                         std::int64_t middle, std::int64_t inner, bool accumulate) {
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t m = 0; m < middle; ++m)
      for (std::int64_t i = 0; i < inner; ++i) {
        const bool chosen = index[o * inner + i] == m;
        const T gradient = chosen ? dy[o * inner + i] : T(0);
        T& target = dx[(o * middle + m) * inner + i];
        target = accumulate ? target + gradient : gradient;
      }
}

template <typename T>
double sum_of_squares(const T* x, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sum += double{x[i]} * double{x[i]};
  }
  return sum;
}

template <typename T>
bool all_finite(const T* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) return false;
  }
  return true;
}

template void reduce_sum(float*, const float*, std::int64_t, std::int64_t, std::int64_t, float,
                         bool);
template void reduce_sum(double*, const double*, std::int64_t, std::int64_t, std::int64_t, double,
                         bool);
template void reduce_max(float*, std::int64_t*, const float*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max(double*, std::int64_t*, const double*, std::int64_t, std::int64_t,
                         std::int64_t);
template void reduce_max_backward(float*, const float*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template void reduce_max_backward(double*, const double*, const std::int64_t*, std::int64_t,
                                  std::int64_t, std::int64_t, bool);
template double sum_of_squares(const float*, std::int64_t);
template double sum_of_squares(const double*, std::int64_t);
template bool all_finite(const float*, std::int64_t);
template bool all_finite(const double*, std::int64_t);

}  // namespace attune::kernels::reference
