#include "attune/core/ops/softmax_cross_entropy.h"

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/kernels/softmax_cross_entropy.h"

namespace attune {
namespace {

struct Forward {
  Tensor loss;         // []
  Tensor log_sum_exp;  // [rows]
};

Forward compute(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  Forward result{Tensor::empty({}, logits.dtype(), logits.device()),
                 Tensor::empty({logits.size(0)}, logits.dtype(), logits.device())};
  visit_floating(logits.dtype(), "softmax_cross_entropy", [&]<typename T>(T) {
    kernels::softmax_cross_entropy_forward(logits.device(), result.loss.mutable_data<T>(),
                                           result.log_sum_exp.mutable_data<T>(), logits.data<T>(),
                                           targets.data<std::int64_t>(), logits.size(0),
                                           logits.size(1), static_cast<T>(label_smoothing));
  });
  return result;
}

struct SoftmaxCrossEntropyBackward final : Node {
  SoftmaxCrossEntropyBackward() : Node("softmax_cross_entropy") {}

  Saved logits, targets;
  double label_smoothing = 0;

  void backward(Tensor grad) override {
    const Tensor scores = restore(logits);
    const Tensor classes = restore(targets);
    // Computed again, in a pass over a few numbers a row: not worth keeping.
    const Tensor log_sum_exp = compute(scores, classes, label_smoothing).log_sum_exp;
    auto [grad_logits, accumulate] = destination(0);
    visit_floating(grad.dtype(), name(), [&, &dx = grad_logits, add = accumulate]<typename T>(T) {
      kernels::softmax_cross_entropy_backward(
          grad.device(), dx.template mutable_data<T>(), grad.data<T>(), scores.data<T>(),
          log_sum_exp.data<T>(), classes.data<std::int64_t>(), scores.size(0), scores.size(1),
          static_cast<T>(label_smoothing), add);
    });
  }
};

void check_arguments(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  const char* op = "softmax_cross_entropy";
  check_rank(op, "logits", logits, 2);
  check_rank(op, "targets", targets, 1);
  if (targets.dtype() != DType::int64 || targets.device() != logits.device() ||
      targets.size(0) != logits.size(0)) {
    throw Error(format_text("{}: targets must be int64 [{}] on {}, but are {}", op, logits.size(0),
                            to_string(logits.device()), describe(targets)));
  }
  if (logits.count() == 0)
    throw Error(format_text("{}: logits {} are empty", op, describe(logits)));
  if (!(label_smoothing >= 0 && label_smoothing < 1)) {
    throw Error(format_text("{}: label_smoothing must be in [0, 1), not {}", op, label_smoothing));
  }
  if (targets.device() != Device::cpu) return;  // a GPU's kernel checks them
  const auto classes = targets.to_vector<std::int64_t>();
  for (std::size_t row = 0; row < classes.size(); ++row) {
    if (classes[row] < 0 || classes[row] >= logits.size(1)) {
      throw Error(format_text("{}: the target of row {} is {}, but there are {} classes", op, row,
                              classes[row], logits.size(1)));
    }
  }
}

}  // namespace

Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  const OpTimer timer("softmax_cross_entropy");
  check_arguments(logits, targets, label_smoothing);
  Tensor loss = compute(logits, targets, label_smoothing).loss;
  if (auto node = record<SoftmaxCrossEntropyBackward>(loss, logits)) {
    node->label_smoothing = label_smoothing;
    node->logits = node->save(logits);
    node->targets = node->save(targets);
  }
  return loss;
}

}  // namespace attune
