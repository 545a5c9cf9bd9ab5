#pragma once

#include <cstdint>
#include <string>

#include "attune/layers/module.h"

namespace attune {

/// Batch normalisation over the last axis of x [..., channels], by itself: no convolution directly
/// before it into which it could be folded. Train uses the statistics of the batch and moves the
/// running ones towards them; Eval, Tune and Deploy use the running ones, and gradients flow in all
/// four. Directly behind a convolution, use ConvBN.
///
/// Parameters weight (gamma) and bias (beta), buffers running_mean, running_var and
/// num_batches_tracked, all named as in PyTorch.
class BatchNorm2d final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    bool affine = true;  ///< has gamma and beta
    double eps = 1e-5;
    double momentum = 0.1;  ///< weight of the new value in the running statistics
  };

  explicit BatchNorm2d(const Options& options);

  Tensor forward(const Tensor& x) override { return forward(x, false); }
  /// With a ReLU behind it, as one operation.
  Tensor forward(const Tensor& x, bool relu);
  using Module::operator();
  Tensor operator()(const Tensor& x, bool relu) {
    return call(x, [&] { return forward(x, relu); });
  }
  std::string type_name() const override { return "BatchNorm2d"; }

  Mode mode() const { return mode_; }
  /// Gives this layer a mode of its own, which set_mode() of a module above leaves alone.
  void pin_mode(Mode mode);
  /// Lets set_mode() reach this layer again.
  void unpin_mode() { pinned_ = false; }
  bool pinned() const { return pinned_; }

  const Options& options() const { return options_; }
  const Tensor& gamma() const { return gamma_; }
  const Tensor& beta() const { return beta_; }
  const Tensor& running_mean() const { return running_mean_; }
  const Tensor& running_var() const { return running_var_; }
  const Tensor& num_batches_tracked() const { return num_batches_tracked_; }

 private:
  void on_set_mode(Mode mode) override;
  void on_deploy() override { on_set_mode(Mode::deploy); }
  void on_undeploy() override { on_set_mode(Mode::eval); }

  Options options_;
  Mode mode_ = Mode::train;
  bool pinned_ = false;
  Tensor gamma_, beta_;  // undefined if not affine
  Tensor running_mean_, running_var_, num_batches_tracked_;
};

}  // namespace attune
