#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "attune/core/ops/conv_bn.h"
#include "attune/core/random.h"
#include "attune/layers/mode.h"
#include "attune/layers/module.h"

namespace attune {

struct ConvBNOptions {
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::array<std::int64_t, 2> kernel{3, 3};  ///< height, width
  std::array<std::int64_t, 2> stride{1, 1};
  std::array<std::int64_t, 2> padding{0, 0};
  std::array<std::int64_t, 2> dilation{1, 1};
  std::int64_t groups = 1;
  bool bias = false;   ///< the convolution has a bias of its own
  bool affine = true;  ///< the normalisation has gamma and beta
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new value in the running statistics
  bool transposed = false;
  std::array<std::int64_t, 2> output_padding{0, 0};  ///< of a transposed convolution
};

/// A convolution followed by batch normalisation, in the four modes of arXiv 2305.11624 (see
/// layers/mode.h and core/ops/conv_bn.h). x [N, H, W, in] -> [N, P, Q, out].
///
/// Train, Eval and Tune share one set of parameters and buffers, named as PyTorch's two layers:
/// conv.weight, [conv.bias], bn.weight (gamma), bn.bias (beta), bn.running_mean, bn.running_var,
/// bn.num_batches_tracked. Switching between them at any time changes none of these.
///
/// Deploy has other parameters, so it is reached by deploy() and left by undeploy():
///
///   deploy()    conv.weight = w' and conv.bias = b', both trainable, are all the parameters. What
///               the way back needs is kept in buffers conv.folded_bn.*: gamma, beta, b, mean, var.
///   undeploy()  restores the four-mode layer with the function that Deploy has now:
///               w = w' / s, beta = b' - (b - mean) s; without beta, b absorbs the change, and with
///               neither, the running mean does. A channel whose scale |s| is below
///               kNegligibleScale cannot be divided: its filter is kept aside by deploy() and comes
///               back if w' is unchanged; otherwise gamma = 1 / r, so that s = 1 and w = w'.
///
/// Both retire the parameters they replace: an optimizer built before refuses to step.
class ConvBN final : public Module {
 public:
  using Options = ConvBNOptions;
  static constexpr double kNegligibleScale = 1e-6;

  /// The filter is drawn from He et al.'s normal distribution (fan-out), gamma is 1, beta and bias
  /// 0.
  explicit ConvBN(const ConvBNOptions& options, Generator& generator = default_generator());
  /// Takes over existing parameters and buffers (`x` and `residual` of `tensors` are ignored),
  /// which must have the shapes that `options` ask for.
  ConvBN(const ConvBNOptions& options, const ConvBNTensors& tensors,
         const Tensor& num_batches_tracked);

  Tensor forward(const Tensor& x) override { return forward(x, {}, false); }
  /// relu(BN(conv(x)) + residual) as one operation; `residual` may be undefined.
  Tensor forward(const Tensor& x, const Tensor& residual, bool relu);
  using Module::operator();
  Tensor operator()(const Tensor& x, const Tensor& residual, bool relu) {
    return call(x, [&] { return forward(x, residual, relu); });
  }

  Mode mode() const { return mode_; }
  /// Gives this layer a mode of its own, which set_mode() of a module above leaves alone.
  /// Mode::deploy and deployed layers follow the rules of set_mode().
  void pin_mode(Mode mode);
  /// Lets set_mode() reach this layer again.
  void unpin_mode() { pinned_ = false; }
  bool pinned() const { return pinned_; }
  bool deployed() const { return kept_.has_value(); }

  /// What backward computes again instead of keeping it. set_recompute() decides on the activation;
  /// a residual block does so on the convolution, by calling this for its first layer.
  void recompute_convolution(bool again) { recompute_.convolution = again; }
  const ConvBNRecompute& recompute() const { return recompute_; }

  const ConvBNOptions& options() const { return options_; }
  std::string type_name() const override { return "ConvBN"; }
  std::int64_t flops(const Shape& input, const Shape& output) const override;

  // Parameters: w, b, gamma, beta (undefined where options leave them out); in Deploy, weight() and
  // bias() are w' and b', and gamma() and beta() are undefined.
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  const Tensor& running_mean() const { return running_mean_; }
  const Tensor& running_var() const { return running_var_; }

  /// s = gamma / sqrt(running_var + eps) [out], by which the fold scales each output channel. In
  /// Deploy: the scale that deploy() folded with. An SGD step in Deploy moves a filter 1 / s^2 as
  /// far as one in Eval or Tune.
  Tensor folding_scale() const;
  /// In Deploy: what the filters kept aside fold to, as deploy() left weight(); undefined if none
  /// is kept. For a block that adds to weight() and, before undeploy(), takes away again.
  Tensor kept_filter_folded() const;

 private:
  // What deploy() keeps for undeploy(): vectors of out_channels, and filters that no division can
  // restore. `gamma`, `beta` and `bias` are undefined where the layer has none.
  struct Kept {
    Tensor gamma, beta, bias, mean, var;
    Tensor weight;  // the whole filter, but only if some channel's scale is negligible
    bool weight_trainable, bias_trainable, gamma_trainable, beta_trainable;
  };

  void register_tensors();
  bool has_negligible_scale() const;
  Tensor fold(const Kept& kept) const;
  void check_set_mode(Mode mode) const override;
  void on_set_mode(Mode mode) override;
  void check_deploy() const override;
  void on_deploy() override;
  void check_undeploy() const override;
  void on_undeploy() override;
  void on_set_recompute(const Recompute& recompute) override {
    recompute_.activation = recompute.activations;
  }
  template <typename T>
  void unfold(Kept& kept);

  ConvBNTensors tensors(const Tensor& x, const Tensor& residual) const;
  ConvolutionOptions convolution_options() const;
  kernels::FilterChannels filter_channels() const;

  ConvBNOptions options_;
  Mode mode_ = Mode::train;
  bool pinned_ = false;
  ConvBNRecompute recompute_;
  Tensor weight_, bias_, gamma_, beta_;
  Tensor running_mean_, running_var_, num_batches_tracked_;
  std::optional<Kept> kept_;
};

}  // namespace attune
