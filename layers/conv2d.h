#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "attune/core/random.h"
#include "attune/layers/module.h"

namespace attune {

/// Convolution of images: x [N, H, W, in] -> [N, P, Q, out],
/// P = (H + 2 padding - dilation (kernel - 1) - 1) / stride + 1, rounded down.
///
/// Parameters: weight [out, kernel height, kernel width, in / groups] and, if wanted, bias [out],
/// drawn as in PyTorch (layers/init.h). Before batch normalisation, use ConvBN instead.
class Conv2d final : public Module {
 public:
  struct Options {
    std::int64_t in_channels = 0;
    std::int64_t out_channels = 0;
    std::array<std::int64_t, 2> kernel{3, 3};  ///< height, width
    std::array<std::int64_t, 2> stride{1, 1};
    std::array<std::int64_t, 2> padding{0, 0};
    std::array<std::int64_t, 2> dilation{1, 1};
    std::int64_t groups = 1;
    bool bias = true;
  };

  explicit Conv2d(const Options& options, Generator& generator = default_generator());

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Conv2d"; }
  std::int64_t flops(const Shape& input, const Shape& output) const override;

  const Options& options() const { return options_; }
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  Options options_;
  Tensor weight_;
  Tensor bias_;  // undefined without one
};

/// Transposed convolution of images, the adjoint of a convolution: x [N, P, Q, in] -> [N, H, W,
/// out], H = (P - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
///
/// Parameters: weight [in, kernel height, kernel width, out / groups] and, if wanted, bias [out],
/// drawn as in PyTorch, whose fan in counts the last extent here too.
class ConvTranspose2d final : public Module {
 public:
  struct Options {
    std::int64_t in_channels = 0;
    std::int64_t out_channels = 0;
    std::array<std::int64_t, 2> kernel{3, 3};  ///< height, width
    std::array<std::int64_t, 2> stride{1, 1};
    std::array<std::int64_t, 2> padding{0, 0};
    std::array<std::int64_t, 2> output_padding{0, 0};
    std::array<std::int64_t, 2> dilation{1, 1};
    std::int64_t groups = 1;
    bool bias = true;
  };

  explicit ConvTranspose2d(const Options& options, Generator& generator = default_generator());

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ConvTranspose2d"; }
  std::int64_t flops(const Shape& input, const Shape& output) const override;

  const Options& options() const { return options_; }
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  Options options_;
  Tensor weight_;
  Tensor bias_;  // undefined without one
};

}  // namespace attune
