#pragma once

#include <vector>

#include "attune/optim/optimizer.h"

namespace attune {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

/// Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1). At step t, with g = grad + weight_decay * w:
///
///     m = beta1 * m + (1 - beta1) * g
///     v = beta2 * v + (1 - beta2) * g^2
///     w -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
///
/// It keeps two tensors, "m" and "v", beside each parameter. t counts that parameter's own steps.
class Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Tensor> params, const AdamOptions& options = {});
  explicit Adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {});

 protected:
  Adam(const char* name, bool decoupled, std::vector<ParameterGroup> groups,
       const AdamOptions& options);
  void update(std::vector<Update> updates, const UpdateSettings& common) const override;

 private:
  AdamOptions options_;
  bool decoupled_;
};

/// As AdamOptions, with the weight decay that PyTorch gives AdamW.
struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2): the
/// moments see the plain gradient, and w first shrinks by lr * weight_decay * w.
class AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> params, const AdamWOptions& options = {});
  explicit AdamW(std::vector<ParameterGroup> groups, const AdamWOptions& options = {});
};

}  // namespace attune
