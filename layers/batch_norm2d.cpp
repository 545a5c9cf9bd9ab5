#include "attune/layers/batch_norm2d.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/batch_norm.h"

namespace attune {

BatchNorm2d::BatchNorm2d(const Options& options) : options_(options) {
  if (options.channels < 1) {
    throw Error(format_text("BatchNorm2d: {} channels", options.channels));
  }
  const Shape channels{options.channels};
  if (options.affine) {
    gamma_ = Tensor::ones(channels);
    beta_ = Tensor::zeros(channels);
    register_parameter("weight", gamma_);
    register_parameter("bias", beta_);
  }
  running_mean_ = Tensor::zeros(channels);
  running_var_ = Tensor::ones(channels);
  num_batches_tracked_ = Tensor::zeros({}, DType::int64);
  register_buffer("running_mean", running_mean_);
  register_buffer("running_var", running_var_);
  register_buffer("num_batches_tracked", num_batches_tracked_);
}

Tensor BatchNorm2d::forward(const Tensor& x, bool relu) {
  if (mode_ != Mode::train) {
    return batch_norm_eval(x, gamma_, beta_, running_mean_, running_var_, options_.eps, {}, relu);
  }
  Tensor y = batch_norm_train(x, gamma_, beta_, running_mean_, running_var_, options_.momentum,
                              options_.eps, {}, relu);
  count_batch(num_batches_tracked_);
  return y;
}

void BatchNorm2d::pin_mode(Mode mode) {
  mode_ = mode;
  pinned_ = true;
}

void BatchNorm2d::on_set_mode(Mode mode) {
  if (!pinned_) mode_ = mode;
}

}  // namespace attune
