#include "attune/kernels/reference/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>

namespace attune::kernels::reference {
namespace {

// log(sum(exp(row))) - largest element. Subtracting the largest first means that no exp overflows
// and that at least one is 1.
template <typename T>
double log_sum_exp_above(const T* row, std::int64_t classes, double largest) {
  double sum = 0;
  for (std::int64_t k = 0; k < classes; ++k) {
    sum += std::exp(double{row[k]} - largest);
  }
  return std::log(sum);
}

// What smoothing makes of a one-hot target.
double smoothed(bool is_target, double smoothing, std::int64_t classes) {
  return (is_target ? 1 - smoothing : 0) + smoothing / static_cast<double>(classes);
}

}  // namespace

template <typename T>
void softmax_cross_entropy_forward(T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing) {
  double total = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* row = logits + i * classes;
    const double largest = *std::max_element(row, row + classes);
    const double above = log_sum_exp_above(row, classes, largest);
    log_sum_exp[i] = static_cast<T>(largest + above);
    for (std::int64_t k = 0; k < classes; ++k) {
      const double log_probability = double{row[k]} - largest - above;
      total -= smoothed(k == targets[i], double{smoothing}, classes) * log_probability;
    }
  }
  loss[0] = static_cast<T>(total / static_cast<double>(rows));
}

// Finds log_sum_exp again, in double: the stored one is rounded to T.
template <typename T>
void softmax_cross_entropy_backward(T* dlogits, const T* dloss, const T* logits,
                                    const T* /*log_sum_exp*/, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate) {
  const double scale = double{dloss[0]} / static_cast<double>(rows);
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* row = logits + i * classes;
    const double largest = *std::max_element(row, row + classes);
    const double above = log_sum_exp_above(row, classes, largest);
    for (std::int64_t k = 0; k < classes; ++k) {
      const double probability = std::exp(double{row[k]} - largest - above);
      const double gradient =
          scale * (probability - smoothed(k == targets[i], double{smoothing}, classes));
      T& target = dlogits[i * classes + k];
      target = static_cast<T>((accumulate ? double{target} : 0.0) + gradient);
    }
  }
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

}  // namespace attune::kernels::reference
