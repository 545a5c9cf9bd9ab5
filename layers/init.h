#pragma once

#include <cstdint>

#include "attune/core/random.h"
#include "attune/core/tensor.h"

// Initial values of weights. Each function overwrites `weight` in place and takes one stream of
// `generator`, of which element i depends on i alone: a seed means the same network whatever the
// number of threads.
//
// PyTorch's defaults, which Conv2d, ConvTranspose2d and Linear follow, are lecun_uniform() for the
// weight, and for the bias the uniform distribution on the same interval.

namespace attune::init {

/// How many inputs feed one output element (in), and how many outputs one input element feeds
/// (out), strides aside: of weight [out, ..., in], the product of all extents but the first, and
/// of all but the last.
struct Fans {
  std::int64_t in;
  std::int64_t out;
};

/// Throws Error unless `weight` has at least two dimensions.
Fans fans(const Shape& weight);

/// Which of them a distribution is scaled by: `in` keeps the variance of activations over the
/// layers, `out` that of gradients.
enum class Fan : std::uint8_t { in, out };

/// Normal with variance gain^2 / fan: for gain sqrt(2), what keeps variances through ReLUs. He et
/// al., "Delving Deep into Rectifiers", arXiv 1502.01852, equations 10 and 14.
void kaiming_normal(Tensor& weight, Generator& generator, Fan fan = Fan::out,
                    double gain = 1.4142135623730951);

/// Uniform with the same variance: on [-b, b] with b = gain sqrt(3 / fan).
void kaiming_uniform(Tensor& weight, Generator& generator, Fan fan = Fan::out,
                     double gain = 1.4142135623730951);

/// Normal with variance 2 gain^2 / (fan in + fan out). Glorot and Bengio, "Understanding the
/// difficulty of training deep feedforward neural networks", AISTATS 2010, equation 12.
void xavier_normal(Tensor& weight, Generator& generator, double gain = 1);

/// Uniform with the same variance: on [-b, b] with b = gain sqrt(6 / (fan in + fan out)). The same,
/// equation 16.
void xavier_uniform(Tensor& weight, Generator& generator, double gain = 1);

/// Uniform on [-b, b] with b = 1 / sqrt(fan in).
void lecun_uniform(Tensor& weight, Generator& generator);

/// Uniform on [low, high), and normal.
void uniform(Tensor& weight, Generator& generator, double low, double high);
void normal(Tensor& weight, Generator& generator, double mean, double deviation);

void constant(Tensor& weight, double value);
inline void zeros(Tensor& weight) { constant(weight, 0); }
inline void ones(Tensor& weight) { constant(weight, 1); }

}  // namespace attune::init
