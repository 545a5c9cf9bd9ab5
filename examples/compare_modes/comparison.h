#pragma once

#include <attune/layers/mode.h>
#include <attune/layers/module.h>
#include <attune/optim/optimizer.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/command_line.h"
#include "support/prediction.h"
#include "support/tasks.h"
#include "support/training.h"

namespace attune::examples {

struct CompareOptions {
  RunOptions run{.batch_size = 32};
  std::int64_t pretrain_epochs = 5;
  std::int64_t epochs = 1;  ///< of fine-tuning
  std::int64_t steps = 0;   ///< ends the fine-tuning early; 0: does not
  double pretrain_lr = 0.1;
  double lr = 0.001;  ///< of fine-tuning
  double momentum = 0.9;
  double weight_decay = 5e-4;
  std::vector<Mode> modes{Mode::train, Mode::eval, Mode::tune, Mode::deploy};
  /// And in these once more with gamma and beta fixed: what is known as frozen batch normalisation.
  std::vector<Mode> fixed_affine_modes = {};
};

/// A network that has learned the source task and is ready for the target task.
struct Pretrained {
  std::string source;  ///< the task, or the file it came from
  NamedTensors state = {};
  double source_accuracy = 0;  ///< NaN if it came from a file
  /// s^2 = gamma^2 / (var + eps) of every channel: by what Deploy's steps differ from Eval's.
  std::vector<double> squared_scales = {};
};

/// What became of one mode. Accuracies are of the target's test set, with running statistics, and
/// NaN where they were not measured.
struct ModeResult {
  Mode mode = Mode::train;
  bool fixed_affine = false;  ///< gamma and beta were not trained
  double accuracy_before = 0;
  double accuracy_after = 0;
  MemoryUse memory = {};
  std::vector<double> loss = {};          ///< one a step
  std::vector<double> milliseconds = {};  ///< likewise
  bool diverged = false;                  ///< the last loss is not finite, and no step followed
  Profile profile = {};                   ///< of the steps after the warm-up, with --profile

  double step_milliseconds() const;  ///< the median
  double final_loss() const;         ///< mean of the last ten steps
};

struct Comparison {
  std::string target;
  Pretrained pretrained;
  std::vector<ModeResult> modes = {};
  ModeReports kept = {};  ///< for backward, layer by layer; of all modes
  bool interrupted = false;

  /// Null if the mode was not part of the comparison.
  const ModeResult* find(Mode mode) const;
};

/// Trains a new network on the source task in Mode::train, then gives it a new classifier if the
/// target has other classes. Throws Error if the loss is not finite. interrupted() ends it early.
Pretrained pretrain(const Transfer& transfer, const CompareOptions& options);

/// The network of --init, for the target.
Pretrained read_pretrained(const Task& target, const CompareOptions& options);

/// Called after each step of each mode.
using StepObserver =
    std::function<void(std::int64_t step, const ModeResult& result, const StepResult& last)>;

/// One mode that competes, and the network that is trained in it.
struct Contender {
  ModeResult result;
  std::shared_ptr<Module> net;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<TrainingStep> step;  ///< trains `net` with `optimizer`
};

Contender make_contender(ModeResult result, std::shared_ptr<Module> net,
                         std::unique_ptr<Optimizer> optimizer, bool cuda_graph = false);

/// Trains each by one step, `take_step`, at `lr_factor` times its rate, except those that have
/// diverged. Another one goes first each time, so that nobody always finds the caches warm; dropout
/// drops the same in all of them. With `profile`, steps after the warm-up are recorded.
void step_in_turn(std::vector<Contender>& contenders, std::int64_t step, double lr_factor,
                  const std::function<StepResult(TrainingStep&)>& take_step,
                  const StepObserver& observe, bool profile = false);
bool all_diverged(const std::vector<Contender>& contenders);

/// Fine-tunes copies of the pretrained network on the target task, one in each mode, side by side:
/// every batch goes to all of them, in turn, so that they see the same data and the same machine.
/// interrupted() ends it early; what was measured until then is returned.
Comparison fine_tune(const Pretrained& pretrained, const Task& target,
                     const CompareOptions& options, const StepObserver& observe);

/// The largest |a - b| / |b| of the losses in the first `steps` steps (all: 0) that both have; NaN
/// if there are none.
double largest_loss_difference(const ModeResult& a, const ModeResult& b, std::size_t steps = 0);

}  // namespace attune::examples
