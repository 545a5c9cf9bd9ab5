#pragma once

#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"
#include "attune/optim/optimizer.h"

namespace attune {

struct EmaOptions {
  double decay = 0.999;  ///< d, in [0, 1)
  /// Begin with a smaller d, min(decay, (1 + t) / (10 + t)) after t updates, so that the first
  /// values, usually bad ones, are forgotten soon.
  bool warm_up = false;
};

/// Exponential moving averages of tensors (parameters, running statistics): after every optimizer
/// step, average = d * average + (1 - d) * tensor, starting from the tensors' first values. The
/// average often generalises better than the last weights (Polyak and Juditsky 1992).
///
///     Ema ema(model.parameters(), {.decay = 0.999});
///     ... optimizer.step(); ema.update(); ...
///     ema.swap();  // the model now has the averages; evaluate it
///     ema.swap();  // and back
class Ema {
 public:
  /// Keeps one average beside each tensor, counted as MemoryPurpose::optimizer. Throws Error unless
  /// all tensors are float32 or float64, and there is at least one.
  explicit Ema(std::vector<Tensor> tensors, const EmaOptions& options = {});

  /// Takes in the tensors' present values. Throws Error if a layer has replaced one (deploy(),
  /// undeploy(), to()), or while the averages are swapped in.
  void update();
  /// Overwrites `targets`, which have the shapes of the tensors, with the averages.
  void copy_to(std::vector<Tensor> targets) const;
  /// Exchanges the averages with the values of the tensors.
  void swap();
  bool swapped() const { return swapped_; }

  const std::vector<Tensor>& averages() const { return averages_; }
  std::int64_t updates() const { return updates_; }

  /// "updates" and "average0", "average1", ...: see Optimizer::state(). Refused while swapped.
  OptimizerState state() const;
  /// Continues from what state() gave. Throws Error, and changes nothing, if it does not fit.
  void load_state(const OptimizerState& state);

 private:
  void check_not_swapped(const char* op) const;

  std::vector<Tensor> tensors_;
  std::vector<Tensor> averages_;
  EmaOptions options_;
  std::int64_t updates_ = 0;
  bool swapped_ = false;
};

}  // namespace attune
