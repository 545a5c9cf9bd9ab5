#pragma once

#include <cstdint>

#include "attune/kernels/device.h"

namespace attune::kernels {

/// Mean over the rows of the cross-entropy between softmax(logits) and smoothed targets:
/// q = (1 - smoothing) onehot(target) + smoothing / classes (Szegedy et al., arXiv 1512.00567).
/// logits [rows, classes], targets [rows] in [0, classes); writes loss [1] and log_sum_exp [rows],
/// which backward needs. Large logits cost no digits: differences from the row's largest are what
/// is added up. On the CPU the caller has validated the targets. On a GPU the kernel does: with one
/// out of range the loss is NaN, and whoever waits for the GPU next gets an Error that names it.
template <typename T>
void softmax_cross_entropy_forward(Device device, T* loss, T* log_sum_exp, const T* logits,
                                   const std::int64_t* targets, std::int64_t rows,
                                   std::int64_t classes, T smoothing);

/// dlogits [rows, classes] = dloss[0] / rows * (softmax(logits) - q); added to what dlogits holds
/// if `accumulate`.
template <typename T>
void softmax_cross_entropy_backward(Device device, T* dlogits, const T* dloss, const T* logits,
                                    const T* log_sum_exp, const std::int64_t* targets,
                                    std::int64_t rows, std::int64_t classes, T smoothing,
                                    bool accumulate = false);

}  // namespace attune::kernels
