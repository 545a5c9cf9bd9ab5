#include <cmath>
#include <cstdint>

#include "attune/kernels/cuda/reduce_middle.h"
#include "attune/kernels/cuda/softmax_cross_entropy.h"

namespace attune::kernels::cuda {
namespace {

// ---- kernels ----

constexpr unsigned kWarp = 32;

// The lanes of a warp exchange values until all have the same: the largest, or the sum.
template <typename T>
__device__ T warp_max(T value) {
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(~0U, value, bit);
    value = other > value ? other : value;
  }
  return value;
}

__device__ inline double warp_sum(double value) {
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) value += __shfl_xor_sync(~0U, value, bit);
  return value;
}

__device__ bool is_class(std::int64_t target, std::int64_t classes) {
  return target >= 0 && target < classes;
}

// A sum of losses, and the first of the rows whose targets name no class.
struct LossSum {
  double value = 0;
  std::int64_t bad_row = kNone;

  static constexpr std::int64_t kNone = INT64_MAX;

  __device__ void add(const LossSum& other) {
    value += other.value;
    if (other.bad_row < bad_row) bad_row = other.bad_row;
  }
};

// A warp for each row. Logits count from the row's largest: large ones cost no digits, no
// exponential overflows, and at least one of them is 1.
template <typename T>
__global__ void row_loss_kernel(double* row_loss, T* log_sum_exp, const T* logits,
                                const std::int64_t* targets, std::int64_t rows,
                                std::int64_t classes, double smoothing) {
  const std::int64_t row = thread_number() / kWarp;
  if (row >= rows) return;  // the whole warp
  const unsigned lane = threadIdx.x % kWarp;
  const T* logit = logits + row * classes;

  T largest = logit[lane < classes ? lane : 0];
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    largest = logit[k] > largest ? logit[k] : largest;
  }
  largest = warp_max(largest);

  double exponentials = 0;
  double differences = 0;
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    const T difference = logit[k] - largest;
    exponentials += static_cast<double>(std::exp(difference));
    differences += static_cast<double>(difference);
  }
  const double above = std::log(warp_sum(exponentials));
  differences = warp_sum(differences);
  if (lane != 0) return;
  log_sum_exp[row] = static_cast<T>(static_cast<double>(largest) + above);
  const std::int64_t target = targets[row];
  const T of_target = is_class(target, classes) ? logit[target] : T(NAN);
  double loss = above - (1 - smoothing) * static_cast<double>(of_target - largest);
  if (smoothing != 0) loss -= smoothing / static_cast<double>(classes) * differences;
  row_loss[row] = loss;
}

// Likewise.
template <typename T>
__global__ void row_gradient_kernel(T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate) {
  const std::int64_t row = thread_number() / kWarp;
  if (row >= rows) return;
  const unsigned lane = threadIdx.x % kWarp;
  const T* logit = logits + row * classes;

  // One, were log_sum_exp not rounded: at logits of 1e4 a float of it is off by 5e-4.
  double exponentials = 0;
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    exponentials += static_cast<double>(std::exp(logit[k] - log_sum_exp[row]));
  }
  const T sum = static_cast<T>(warp_sum(exponentials));
  const T scale = dloss[0] / static_cast<T>(rows);
  const T everywhere = smoothing / static_cast<T>(classes);
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    const T target = (k == targets[row] ? 1 - smoothing : T(0)) + everywhere;
    const T gradient = scale * (std::exp(logit[k] - log_sum_exp[row]) / sum - target);
    T& out = dlogits[row * classes + k];
    out = accumulate ? out + gradient : gradient;
  }
}

}  // namespace

// ---- launchers ----

template <typename T>
void softmax_cross_entropy_forward(T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing) {
  const Workspace<double> row_losses(rows, Device::cuda(current_device()));
  const double* row_loss = row_losses.data();
  launch(row_loss_kernel<T>, blocks_for(rows * kWarp), kThreads, 0, stream(), row_losses.data(),
         log_sum_exp, logits, targets, rows, classes, static_cast<double>(smoothing));
  BadTarget* report = bad_target();
  reduce_middle<LossSum>(
      {1, rows, 1},
      [=] __device__(LossSum & sum, std::int64_t, std::int64_t row, std::int64_t) {
        sum.add({row_loss[row], is_class(targets[row], classes) ? LossSum::kNone : row});
      },
      [=] __device__(std::int64_t, const LossSum& sum) {
        loss[0] = static_cast<T>(sum.value / static_cast<double>(rows));
        if (sum.bad_row == LossSum::kNone || report->row >= 0) return;
        *report = {sum.bad_row, targets[sum.bad_row], classes};
      });
}

template <typename T>
void softmax_cross_entropy_backward(T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate) {
  launch(row_gradient_kernel<T>, blocks_for(rows * kWarp), kThreads, 0, stream(), dlogits, dloss,
         logits, log_sum_exp, targets, rows, classes, smoothing, accumulate);
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

}  // namespace attune::kernels::cuda
