#include "attune/kernels/cpu/elementwise.h"

#include <bit>
#include <cmath>

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/cpu/strided_runs.h"

namespace attune::kernels::cpu {
namespace {

// y[i] = f(x[i]).
template <typename R, typename T, typename F>
void map(R* y, const T* x, std::int64_t count, const F& f) {
  parallel_for_ranges(count, kGrain, [&](Range range) {
#pragma omp simd
    for (std::int64_t i = range.first; i < range.last; ++i) y[i] = f(x[i]);
  });
}

// y = f(a, b), both broadcast. Loops of their own for the strides that matter, 0 and 1, are what
// lets the compiler use vectors.
template <typename R, typename T, typename F>
void map_broadcast(R* y, const T* a, const T* b, const StridedShape& shape, const F& f) {
  for_each_run(shape, [&](const StridedRun& run) {
    R* to = y + run.first;
    const T* left = a + run.offset_a;
    const T* right = b + run.offset_b;
    if (run.stride_a == 1 && run.stride_b == 1) {
#pragma omp simd
      for (std::int64_t i = 0; i < run.size; ++i) to[i] = f(left[i], right[i]);
    } else if (run.stride_a == 1 && run.stride_b == 0) {
      const T constant = *right;
#pragma omp simd
      for (std::int64_t i = 0; i < run.size; ++i) to[i] = f(left[i], constant);
    } else if (run.stride_a == 0 && run.stride_b == 1) {
      const T constant = *left;
#pragma omp simd
      for (std::int64_t i = 0; i < run.size; ++i) to[i] = f(constant, right[i]);
    } else {
      for (std::int64_t i = 0; i < run.size; ++i) {
        to[i] = f(left[i * run.stride_a], right[i * run.stride_b]);
      }
    }
  });
}

// dx[i] = holds(y[i]) ? dy[i] : 0, added to dx if `accumulate`.
template <typename T, typename F>
void pass_where(T* dx, const T* dy, const T* y, std::int64_t count, bool accumulate,
                const F& holds) {
  parallel_for_ranges(count, kGrain, [&](Range range) {
    // Both values are read before either is chosen: a conditional read would not be vectorised.
    if (accumulate) {
#pragma omp simd
      for (std::int64_t i = range.first; i < range.last; ++i) {
        const T before = dx[i], sum = before + dy[i];
        dx[i] = holds(y[i]) ? sum : before;
      }
    } else {
#pragma omp simd
      for (std::int64_t i = range.first; i < range.last; ++i) {
        const T gradient = dy[i];
        dx[i] = holds(y[i]) ? gradient : T(0);
      }
    }
  });
}

}  // namespace

template <typename T>
void unary(UnaryOp op, T* y, const T* x, std::int64_t count) {
  switch (op) {
    case UnaryOp::negate:
      return map(y, x, count, [](T v) { return -v; });
    case UnaryOp::exp:
      return map(y, x, count, [](T v) { return std::exp(v); });
    case UnaryOp::log:
      return map(y, x, count, [](T v) { return std::log(v); });
    case UnaryOp::sqrt:
      return map(y, x, count, [](T v) { return std::sqrt(v); });
    case UnaryOp::abs:
      return map(y, x, count, [](T v) { return std::abs(v); });
    case UnaryOp::relu:  // in this form NaN stays NaN
      return map(y, x, count, [](T v) { return v < 0 ? T(0) : v; });
    case UnaryOp::sigmoid:
      return map(y, x, count, [](T v) { return 1 / (1 + std::exp(-v)); });
    case UnaryOp::tanh:
      return map(y, x, count, [](T v) { return std::tanh(v); });
    case UnaryOp::sign:
      return map(y, x, count, [](T v) { return v > 0 ? T(1) : v < 0 ? T(-1) : v; });
    case UnaryOp::reciprocal:
      return map(y, x, count, [](T v) { return 1 / v; });
  }
}

template <typename T>
void power(T* y, const T* x, T exponent, std::int64_t count) {
  if (exponent == 2) return map(y, x, count, [](T v) { return v * v; });
  map(y, x, count, [exponent](T v) { return std::pow(v, exponent); });
}

template <typename T>
void binary(BinaryOp op, T* y, const T* a, const T* b, const StridedShape& shape) {
  switch (op) {
    case BinaryOp::add:
      return map_broadcast(y, a, b, shape, [](T l, T r) { return l + r; });
    case BinaryOp::subtract:
      return map_broadcast(y, a, b, shape, [](T l, T r) { return l - r; });
    case BinaryOp::multiply:
      return map_broadcast(y, a, b, shape, [](T l, T r) { return l * r; });
    case BinaryOp::divide:
      return map_broadcast(y, a, b, shape, [](T l, T r) { return l / r; });
  }
}

template <typename T>
void compare(CompareOp op, std::uint8_t* y, const T* a, const T* b, const StridedShape& shape) {
  const auto map_bool = [&](auto holds) {
    map_broadcast(y, a, b, shape, [holds](T l, T r) -> std::uint8_t { return holds(l, r); });
  };
  switch (op) {
    case CompareOp::equal:
      return map_bool([](T l, T r) { return l == r; });
    case CompareOp::not_equal:
      return map_bool([](T l, T r) { return l != r; });
    case CompareOp::less:
      return map_bool([](T l, T r) { return l < r; });
    case CompareOp::less_equal:
      return map_bool([](T l, T r) { return l <= r; });
    case CompareOp::greater:
      return map_bool([](T l, T r) { return l > r; });
    case CompareOp::greater_equal:
      return map_bool([](T l, T r) { return l >= r; });
  }
}

template <typename T>
void copy_strided(T* y, const T* x, const StridedShape& shape) {
  for_each_run(shape, [&](const StridedRun& run) {
    const T* from = x + run.offset_a;
    T* to = y + run.first;
    if (run.stride_a == 1) {
      std::copy_n(from, run.size, to);
    } else {
      for (std::int64_t i = 0; i < run.size; ++i) to[i] = from[i * run.stride_a];
    }
  });
}

template <typename T>
void scatter_strided(T* y, const T* x, const StridedShape& shape, bool accumulate) {
  for_each_run(shape, [&](const StridedRun& run) {
    const T* from = x + run.first;
    T* to = y + run.offset_a;
    const std::int64_t stride = run.stride_a;
    if (!accumulate && stride == 1) {
      std::copy_n(from, run.size, to);
    } else if (!accumulate) {
      for (std::int64_t i = 0; i < run.size; ++i) to[i * stride] = from[i];
    } else if (stride == 1) {
#pragma omp simd
      for (std::int64_t i = 0; i < run.size; ++i) to[i] = static_cast<T>(to[i] + from[i]);
    } else {
      for (std::int64_t i = 0; i < run.size; ++i) {
        to[i * stride] = static_cast<T>(to[i * stride] + from[i]);
      }
    }
  });
}

template <typename T>
void clamp(T* y, const T* x, T low, T high, std::int64_t count) {
  map(y, x, count, [low, high](T v) { return v < low ? low : v > high ? high : v; });
}

template <typename T>
void fill(T* y, T value, std::int64_t count) {
  parallel_for_ranges(count, kGrain,
                      [&](Range range) { std::fill_n(y + range.first, range.size(), value); });
}

template <typename T>
void axpy(T* y, T alpha, const T* x, std::int64_t count) {
  parallel_for_ranges(count, kGrain, [&](Range range) {
#pragma omp simd
    for (std::int64_t i = range.first; i < range.last; ++i) y[i] += alpha * x[i];
  });
}

template <typename T>
void scale(T* y, T alpha, std::int64_t count) {
  map(y, y, count, [alpha](T v) { return alpha * v; });
}

void round_to_bfloat16(std::uint16_t* y, const float* x, std::int64_t count) {
  map(y, x, count, [](float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffU, upper = bits >> 16;
    const std::uint32_t nearest = (bits + 0x7fffU + (upper & 1U)) >> 16;
    const std::uint32_t vanished = magnitude > 0 && magnitude <= 0x8000U ? 1 : 0;
    const bool is_nan = magnitude > 0x7f800000U;  // whose payload may be in the lower half alone
    return static_cast<std::uint16_t>(is_nan ? upper | 0x40U : nearest | vanished);
  });
}

void widen_bfloat16(float* y, const std::uint16_t* x, std::int64_t count) {
  map(y, x, count, [](std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  });
}

template <typename T>
void relu_backward(T* dx, const T* dy, const T* relu_output, std::int64_t count, bool accumulate) {
  pass_where(dx, dy, relu_output, count, accumulate, [](T y) { return y > 0; });
}

template <typename T>
void clamp_backward(T* dx, const T* dy, const T* y, T low, T high, std::int64_t count,
                    bool accumulate) {
  // "&", not "&&": two comparisons without a branch between them.
  pass_where(dx, dy, y, count, accumulate,
             [low, high](T v) { return static_cast<bool>((v > low) & (v < high)); });
}

template void unary(UnaryOp, float*, const float*, std::int64_t);
template void unary(UnaryOp, double*, const double*, std::int64_t);
template void power(float*, const float*, float, std::int64_t);
template void power(double*, const double*, double, std::int64_t);
template void binary(BinaryOp, float*, const float*, const float*, const StridedShape&);
template void binary(BinaryOp, double*, const double*, const double*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const float*, const float*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const double*, const double*, const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const std::int64_t*, const std::int64_t*,
                      const StridedShape&);
template void compare(CompareOp, std::uint8_t*, const std::uint8_t*, const std::uint8_t*,
                      const StridedShape&);
template void copy_strided(float*, const float*, const StridedShape&);
template void copy_strided(double*, const double*, const StridedShape&);
template void copy_strided(std::int64_t*, const std::int64_t*, const StridedShape&);
template void copy_strided(std::uint8_t*, const std::uint8_t*, const StridedShape&);
template void scatter_strided(float*, const float*, const StridedShape&, bool);
template void scatter_strided(double*, const double*, const StridedShape&, bool);
template void scatter_strided(std::int64_t*, const std::int64_t*, const StridedShape&, bool);
template void scatter_strided(std::uint8_t*, const std::uint8_t*, const StridedShape&, bool);
template void clamp(float*, const float*, float, float, std::int64_t);
template void clamp(double*, const double*, double, double, std::int64_t);
template void fill(float*, float, std::int64_t);
template void fill(double*, double, std::int64_t);
template void fill(std::int64_t*, std::int64_t, std::int64_t);
template void fill(std::uint8_t*, std::uint8_t, std::int64_t);
template void axpy(float*, float, const float*, std::int64_t);
template void axpy(double*, double, const double*, std::int64_t);
template void scale(float*, float, std::int64_t);
template void scale(double*, double, std::int64_t);
template void relu_backward(float*, const float*, const float*, std::int64_t, bool);
template void relu_backward(double*, const double*, const double*, std::int64_t, bool);
template void clamp_backward(float*, const float*, const float*, float, float, std::int64_t, bool);
template void clamp_backward(double*, const double*, const double*, double, double, std::int64_t,
                             bool);

}  // namespace attune::kernels::cpu
