#include <cmath>

#include "attune/kernels/cuda/reduce.h"
#include "attune/kernels/cuda/reduce_middle.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

// The largest element so far and where it is; nowhere yet: -1. NaN is larger than any number.
template <typename T>
struct Largest {
  T value = 0;
  std::int64_t index = -1;

  __device__ void add(const Largest& other) {
    if (other.index < 0) return;
    const bool larger = other.value > value || (std::isnan(other.value) && !std::isnan(value));
    const bool equal = other.value == value || (std::isnan(other.value) && std::isnan(value));
    if (index < 0 || larger || (equal && other.index < index)) *this = other;
  }
};

struct Count {
  std::int64_t value = 0;

  __device__ void add(const Count& other) { value += other.value; }
};

// The reduction of all `count` elements, for the host.
template <typename Value, typename Load>
Value reduce_all(std::int64_t count, const Load& load) {
  const Workspace<Value> result(1, Device::cuda(current_device()));
  Value* place = result.data();
  reduce_middle<Value>({1, count, 1}, load,
                       [=] __device__(std::int64_t, const Value& value) { *place = value; });
  Value value;
  copy_to_host(&value, place, sizeof value);
  return value;
}

}  // namespace

// ---- launchers ----

template <typename T>
void reduce_sum(T* y, const T* x, std::int64_t outer, std::int64_t middle, std::int64_t inner,
                T scale, bool accumulate) {
  reduce_middle<Sum>(
      {outer, middle, inner},
      [=] __device__(Sum & sum, std::int64_t o, std::int64_t m, std::int64_t i) {
        sum.value += static_cast<double>(x[(o * middle + m) * inner + i]);
      },
      [=] __device__(std::int64_t i, const Sum& sum) {
        const double before = accumulate ? static_cast<double>(y[i]) : 0.0;
        y[i] = static_cast<T>(before + static_cast<double>(scale) * sum.value);
      });
}

template <typename T>
void reduce_max(T* y, std::int64_t* index, const T* x, std::int64_t outer, std::int64_t middle,
                std::int64_t inner) {
  reduce_middle<Largest<T>>(
      {outer, middle, inner},
      [=] __device__(Largest<T> & largest, std::int64_t o, std::int64_t m, std::int64_t i) {
        largest.add({x[(o * middle + m) * inner + i], m});
      },
      [=] __device__(std::int64_t i, const Largest<T>& largest) {
        y[i] = largest.value;
        if (index != nullptr) index[i] = largest.index;
      });
}

template <typename T>
void reduce_max_backward(T* dx, const T* dy, const std::int64_t* index, std::int64_t outer,
                         std::int64_t middle, std::int64_t inner, bool accumulate) {
  for_each(outer * middle * inner, [=] __device__(std::int64_t element) {
    const std::int64_t output = element / (middle * inner) * inner + element % inner;
    const bool chosen = index[output] == element / inner % middle;
    const T gradient = chosen ? dy[output] : T(0);
    dx[element] = accumulate ? dx[element] + gradient : gradient;
  });
}

template <typename T>
double sum_of_squares(const T* x, std::int64_t count) {
  const auto add_square = [=] __device__(Sum & sum, std::int64_t, std::int64_t m, std::int64_t) {
    sum.value += static_cast<double>(x[m]) * static_cast<double>(x[m]);
  };
  return reduce_all<Sum>(count, add_square).value;
}

template <typename T>
bool all_finite(const T* x, std::int64_t count) {
  const auto look = [=] __device__(Count & found, std::int64_t, std::int64_t m, std::int64_t) {
    if (!std::isfinite(x[m])) ++found.value;
  };
  return reduce_all<Count>(count, look).value == 0;
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

}  // namespace attune::kernels::cuda
