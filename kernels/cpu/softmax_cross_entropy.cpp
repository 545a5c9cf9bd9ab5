#include "attune/kernels/cpu/softmax_cross_entropy.h"

#include <cmath>

#include "attune/kernels/cpu/channel_rows.h"
#include "attune/kernels/memory.h"

namespace attune::kernels::cpu {
namespace {

// Rows that one thread takes at a time; an exponential is worth some ten additions.
std::int64_t rows_per_range(std::int64_t classes) {
  return std::max<std::int64_t>(1, kGrain / 8 / std::max<std::int64_t>(1, classes));
}

// Sum of exp(row - shift), in order.
template <typename T>
double sum_exp(const T* row, std::int64_t classes, T shift) {
  double sum = 0;
  for (std::int64_t k = 0; k < classes; ++k) sum += double{std::exp(row[k] - shift)};
  return sum;
}

}  // namespace

template <typename T>
void softmax_cross_entropy_forward(T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing) {
  const double on_target = 1 - double{smoothing};
  const double everywhere = double{smoothing} / static_cast<double>(classes);
  Workspace<double> row_losses(rows);
  parallel_for_ranges(rows, rows_per_range(classes), [&](Range range) {
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T* row = logits + i * classes;
      const T largest = *std::max_element(row, row + classes);
      const double above = std::log(sum_exp(row, classes, largest));
      log_sum_exp[i] = static_cast<T>(double{largest} + above);
      // Logits count from the largest, as differences: large ones cost no digits.
      double row_loss = above - on_target * double{row[targets[i]] - largest};
      for (std::int64_t k = 0; k < classes && everywhere != 0; ++k) {
        row_loss -= everywhere * double{row[k] - largest};
      }
      row_losses.data()[i] = row_loss;
    }
  });
  double sum = 0;
  for (std::int64_t i = 0; i < rows; ++i) sum += row_losses.data()[i];
  loss[0] = static_cast<T>(sum / static_cast<double>(rows));
}

template <typename T>
void softmax_cross_entropy_backward(T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate) {
  const T scale = dloss[0] / static_cast<T>(rows);
  const T everywhere = smoothing / static_cast<T>(classes);
  parallel_for_ranges(rows, rows_per_range(classes), [&](Range range) {
    for (std::int64_t i = range.first; i < range.last; ++i) {
      const T* row = logits + i * classes;
      T* gradient = dlogits + i * classes;
      // One, were log_sum_exp not rounded: at logits of 1e4 a float of it is off by 5e-4.
      const T sum = static_cast<T>(sum_exp(row, classes, log_sum_exp[i]));
      for (std::int64_t k = 0; k < classes; ++k) {
        const T target = (k == targets[i] ? 1 - smoothing : T(0)) + everywhere;
        const T value = scale * (std::exp(row[k] - log_sum_exp[i]) / sum - target);
        gradient[k] = accumulate ? gradient[k] + value : value;
      }
    }
  });
}

template void softmax_cross_entropy_forward(float*, float*, const float*, const std::int64_t*,
                                            std::int64_t, std::int64_t, float);
template void softmax_cross_entropy_forward(double*, double*, const double*, const std::int64_t*,
                                            std::int64_t, std::int64_t, double);
template void softmax_cross_entropy_backward(float*, const float*, const float*, const float*,
                                             const std::int64_t*, std::int64_t, std::int64_t, float,
                                             bool);
template void softmax_cross_entropy_backward(double*, const double*, const double*, const double*,
                                             const std::int64_t*, std::int64_t, std::int64_t,
                                             double, bool);

}  // namespace attune::kernels::cpu
