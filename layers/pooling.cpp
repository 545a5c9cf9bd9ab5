#include "attune/layers/pooling.h"

namespace attune {

Tensor MaxPool2d::forward(const Tensor& x) { return max_pool2d(x, options_); }

Tensor AvgPool2d::forward(const Tensor& x) { return avg_pool2d(x, options_); }

Tensor GlobalAvgPool::forward(const Tensor& x) { return global_avg_pool(x); }

}  // namespace attune
