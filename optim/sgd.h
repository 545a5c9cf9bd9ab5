#pragma once

#include <limits>
#include <vector>

#include "attune/optim/optimizer.h"

namespace attune {

struct SgdOptions {
  double lr = std::numeric_limits<double>::quiet_NaN();  ///< has to be given: NaN is refused
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Stochastic gradient descent as PyTorch defines it. With g = grad + weight_decay * w:
///
///     v = momentum * v + (1 - dampening) * g      (v = g at the first step)
///     w -= lr * v                                 (nesterov: lr * (g + momentum * v))
///
/// With momentum it keeps one tensor, "velocity", beside each parameter. Nesterov's momentum
/// (Sutskever et al., "On the importance of initialization and momentum", ICML 2013) needs
/// momentum > 0 and dampening 0.
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<Tensor> params, const SgdOptions& options);
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options);

 protected:
  void update(std::vector<Update> updates, const UpdateSettings& common) const override;

 private:
  SgdOptions options_;
};

}  // namespace attune
