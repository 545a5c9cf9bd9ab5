#pragma once

#include <attune/core/profile.h>
#include <attune/core/step_graph.h>
#include <attune/data/data_loader.h>
#include <attune/layers/module.h>
#include <attune/optim/ema.h>
#include <attune/optim/lr_schedule.h>
#include <attune/optim/optimizer.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "support/command_line.h"
#include "support/progress.h"

namespace attune::examples {

/// Applies --threads and --seed. Called once, before anything is built. Throws UsageError for
/// --cuda-graph without a GPU.
void apply_settings(const RunOptions& options);

/// The rate of a training from scratch: up in a quarter of the steps, then down to almost nothing.
/// A run of a handful of steps has no room for that and gets a constant rate.
LrSchedule one_cycle(std::int64_t steps);

struct StepResult {
  double loss = 0;  ///< before the update
  double milliseconds = 0;

  /// Not so: the run has diverged.
  bool finite() const;
};

/// What a network is trained to make small: its loss on some batch, a scalar.
using LossFunction = std::function<Tensor(Module& net)>;

/// Cross-entropy on a batch, which must outlive the function.
LossFunction cross_entropy(const Batch& batch, double label_smoothing = 0);

struct TrainingStepOptions {
  double label_smoothing = 0;
  Ema* ema = nullptr;       ///< averages that follow the weights, if any
  bool cuda_graph = false;  ///< recorded once and repeated (attune/core/step_graph.h)
};

/// One update after the other: forward, loss, backward, optimizer.
///
/// A loss that is not finite is reported, and updates nothing: parameters, the optimizer's state
/// and the averages stay what they were. (Running statistics are forward's, and have changed.) To
/// know that, a GPU is waited for before backward. Only a recorded step makes its update before
/// anybody can look at the loss; it leaves NaNs then.
class TrainingStep {
 public:
  /// All that is named here has to live as long as this, where it is.
  TrainingStep(Module& net, Optimizer& optimizer, const TrainingStepOptions& options = {});
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  /// With cross-entropy as loss. With `cuda_graph`, all batches have the shape of the first.
  StepResult run(const Batch& batch);
  /// With a loss that may be another one each time, so that this is never recorded.
  StepResult run(const LossFunction& loss);

 private:
  /// `step` returns its loss when all of it is done.
  StepResult timed(const std::function<double()>& step);
  void record(const Batch& batch);
  Tensor forward(const LossFunction& loss_of);
  void update(const Tensor& loss);

  Module& net_;
  Optimizer& optimizer_;
  TrainingStepOptions options_;
  Tensor loss_;     // of the last update
  Batch recorded_;  // what the recorded step reads
  std::optional<StepGraph> graph_;
};

/// The first steps reserve memory and fill caches; --profile begins after them.
constexpr std::int64_t kProfileWarmUp = 3;

/// What --profile prints about a run of so many steps, the warm-up included.
std::string profile_text(const Profile& profile, std::int64_t steps);

/// Share of the images whose class the network's largest output names, between 0 and 1, in the mode
/// the network is in, without dropout. Records nothing for backward. NaN if interrupted() before
/// the end. Advances `progress` by the images.
double accuracy(Module& net, const DataLoader& batches, Progress& progress);

struct MemoryUse {
  /// Kept for the backward pass: without parameters, buffers and the images, shared storage once.
  std::int64_t saved_bytes = 0;
  /// At the worst moment of forward and backward, above what was there before.
  std::int64_t peak_bytes = 0;
};

/// Runs forward and backward once, without an update; exact, so once is enough. `images` are those
/// that `loss` computes with. In Mode::train the running statistics change: use a network of its
/// own for that.
MemoryUse measure_memory(Module& net, const Tensor& images, const LossFunction& loss);
/// With cross-entropy as loss.
MemoryUse measure_memory(Module& net, const Batch& batch);

}  // namespace attune::examples
