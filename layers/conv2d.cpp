#include "attune/layers/conv2d.h"

#include <cmath>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/conv2d.h"
#include "attune/layers/init.h"

namespace attune {
namespace {

template <typename Options>
void check_channels(const char* layer, const Options& o) {
  if (o.in_channels < 1 || o.out_channels < 1 || o.groups < 1 || o.in_channels % o.groups != 0 ||
      o.out_channels % o.groups != 0) {
    throw Error(format_text("{}: {} input and {} output channels in {} groups", layer,
                            o.in_channels, o.out_channels, o.groups));
  }
  if (o.kernel[0] < 1 || o.kernel[1] < 1) {
    throw Error(format_text("{}: a kernel of {} x {}", layer, o.kernel[0], o.kernel[1]));
  }
}

template <typename Options>
Conv2dOptions sliding(const Options& o) {
  return {.stride = o.stride, .padding = o.padding, .dilation = o.dilation, .groups = o.groups};
}

// The bias that PyTorch gives a layer with `weight`.
Tensor initial_bias(std::int64_t channels, const Tensor& weight, Generator& generator) {
  const double bound = 1 / std::sqrt(static_cast<double>(init::fans(weight.shape()).in));
  return random_uniform({channels}, -bound, bound, generator);
}

}  // namespace

// ---- Conv2d ----

Conv2d::Conv2d(const Options& options, Generator& generator) : options_(options) {
  check_channels("Conv2d", options);
  weight_ = Tensor::empty({options.out_channels, options.kernel[0], options.kernel[1],
                           options.in_channels / options.groups});
  init::lecun_uniform(weight_, generator);
  register_parameter("weight", weight_);
  if (!options.bias) return;
  bias_ = initial_bias(options.out_channels, weight_, generator);
  register_parameter("bias", bias_);
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight_, bias_, sliding(options_)); }

std::int64_t Conv2d::flops(const Shape&, const Shape& output) const {
  return 2 * output.count() / options_.out_channels * weight_.count();
}

// ---- ConvTranspose2d ----

ConvTranspose2d::ConvTranspose2d(const Options& options, Generator& generator) : options_(options) {
  check_channels("ConvTranspose2d", options);
  weight_ = Tensor::empty({options.in_channels, options.kernel[0], options.kernel[1],
                           options.out_channels / options.groups});
  init::lecun_uniform(weight_, generator);
  register_parameter("weight", weight_);
  if (!options.bias) return;
  bias_ = initial_bias(options.out_channels, weight_, generator);
  register_parameter("bias", bias_);
}

Tensor ConvTranspose2d::forward(const Tensor& x) {
  return conv_transpose2d(x, weight_, bias_, sliding(options_), options_.output_padding);
}

std::int64_t ConvTranspose2d::flops(const Shape& input, const Shape&) const {
  return 2 * input.count() / options_.in_channels * weight_.count();
}

}  // namespace attune
