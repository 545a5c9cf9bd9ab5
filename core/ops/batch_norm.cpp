#include "attune/core/ops/batch_norm.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/ops/convolution.h"
#include "attune/core/ops/normalization.h"
#include "attune/core/profile.h"
#include "attune/core/trace.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

enum Input { y_input, gamma_input, beta_input, residual_input };

// Train and Eval differ in where the statistics come from, and so in whether y depends on itself
// through them.
struct BatchNormBackward final : Node {
  explicit BatchNormBackward(const char* name) : Node(name) {}

  Saved y, gamma, relu_output;
  Saved mean, rstd;         // Train: of the batch
  Saved running_mean, var;  // Eval: 1 / sigma is computed again
  double eps = 0;

  void backward(Tensor dz) override {
    dz = through_relu(std::move(dz), relu_output);
    if (needs(residual_input)) add_grad(residual_input, dz);
    const bool batch_statistics = mean.defined();
    const ChannelStatistics statistics =
        batch_statistics ? ChannelStatistics{restore(mean), restore(rstd)}
                         : running_statistics(restore(running_mean), restore(var), eps);
    const NormalizeBackward backward{.batch_statistics = batch_statistics,
                                     .want_y = needs(y_input),
                                     .want_gamma = needs(gamma_input),
                                     .want_beta = needs(beta_input)};
    const auto grads = backward(std::move(dz), restore(y), statistics, restore(gamma));
    if (needs(y_input)) add_grad(y_input, grads.y);
    if (needs(gamma_input)) add_grad(gamma_input, grads.gamma);
    if (needs(beta_input)) add_grad(beta_input, grads.beta);
  }
};

void check_arguments(const char* op, const Tensor& y, const Tensor& gamma, const Tensor& beta,
                     const Tensor& mean, const Tensor& var, const Tensor& residual) {
  if (!y.defined() || y.rank() < 2) {
    throw Error(format_text("{}: input must be [..., channels], but is {}", op, describe(y)));
  }
  if (mean.defined() != var.defined()) {
    throw Error(format_text("{}: a running mean needs a running variance, and conversely", op));
  }
  check_channel_vectors(op, y, y.size(-1), {&gamma, &beta, &mean, &var});
  check_residual(op, residual, y.shape());
}

}  // namespace

Tensor batch_norm_train(const Tensor& y, const Tensor& gamma, const Tensor& beta,
                        Tensor running_mean, Tensor running_var, double momentum, double eps,
                        const Tensor& residual, bool relu) {
  const char* op = "batch_norm_train";
  const OpTimer timer(op);
  check_arguments(op, y, gamma, beta, running_mean, running_var, residual);
  BatchStatistics batch(op, y);
  batch.take(y);
  const ChannelStatistics statistics =
      batch.finish(std::move(running_mean), std::move(running_var), momentum, eps);
  Tensor z = Tensor::empty(y.shape(), y.dtype(), y.device());
  normalize(z, y, statistics, gamma, beta, residual, relu);

  if (auto node = record_as<BatchNormBackward>(z, {&y, &gamma, &beta, &residual}, op)) {
    node->mean = node->save(statistics.mean);
    node->rstd = node->save(statistics.rstd);
    if (node->needs(y_input) || node->needs(gamma_input)) node->y = node->save(y);
    if (node->needs(y_input)) node->gamma = node->save(gamma);
    if (relu) node->relu_output = node->save_relu_output(z);
  }
  return z;
}

Tensor batch_norm_eval(const Tensor& y, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_var, double eps,
                       const Tensor& residual, bool relu) {
  const char* op = "batch_norm_eval";
  const OpTimer timer(op);
  check_arguments(op, y, gamma, beta, running_mean, running_var, residual);
  if (!running_mean.defined()) throw Error(format_text("{}: needs running statistics", op));
  Tensor z = Tensor::empty(y.shape(), y.dtype(), y.device());
  normalize(z, y, running_statistics(running_mean, running_var, eps), gamma, beta, residual, relu);

  if (auto node = record_as<BatchNormBackward>(z, {&y, &gamma, &beta, &residual}, op)) {
    node->eps = eps;
    node->running_mean = node->save(running_mean);
    node->var = node->save(running_var);
    if (node->needs(gamma_input)) node->y = node->save(y);
    if (node->needs(y_input)) node->gamma = node->save(gamma);
    if (relu) node->relu_output = node->save_relu_output(z);
  }
  if (auto* const trace = TraceScope::current()) {
    trace->add({op,
                {y, gamma, beta, running_mean, running_var, residual},
                z,
                {{"eps", {eps}}, {"relu", {relu ? 1.0 : 0.0}}}});
  }
  return z;
}

void count_batch(Tensor& num_batches_tracked) {
  kernels::increment(num_batches_tracked.device(),
                     num_batches_tracked.mutable_data<std::int64_t>());
}

}  // namespace attune
