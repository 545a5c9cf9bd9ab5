#pragma once

#include <attune/core/error.h>
#include <attune/core/profile.h>
#include <attune/layers/module.h>
#include <attune/optim/ema.h>
#include <attune/optim/sgd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/network.h"
#include "support/tasks.h"
#include "support/training.h"

namespace attune::examples {

struct TrainOptions {
  RunOptions run;
  std::int64_t epochs = 10;
  std::optional<double> lr = {};  ///< none: fits how the run starts
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double label_smoothing = 0;
  double ema = 0;                     ///< decay of averaged weights; 0: there are none
  std::optional<Mode> mode = {};      ///< none: Train from scratch, Tune from a file
  std::string resume = {};            ///< "auto" or a file; empty: start anew
  std::int64_t checkpoint_every = 0;  ///< steps; 0: after each epoch

  bool from_scratch() const { return run.init.empty(); }
  Mode chosen_mode() const { return mode.value_or(from_scratch() ? Mode::train : Mode::tune); }
  double chosen_lr() const { return lr.value_or(from_scratch() ? 0.4 : 0.01); }
};

struct EpochResult {
  double train_loss = 0;     ///< mean over the steps
  double test_accuracy = 0;  ///< NaN: interrupted before it was known
  double last_lr = 0;
  double train_seconds = 0;  ///< so far, testing left out
};

/// The loss is no number any more.
class Diverged : public Error {
 public:
  using Error::Error;
};

/// A training run that can be stopped anywhere and taken up again: whatever happened in between, it
/// ends with the same bits.
class Trainer {
 public:
  static constexpr const char* kCheckpointFile = "checkpoint.safetensors";
  static constexpr const char* kWeightsFile = "weights.safetensors";

  /// Called after each epoch.
  using Observer = std::function<void(std::size_t number, const EpochResult& result)>;

  /// `net` in Mode::train; all that must be equal for resume() is in `options` and `task`.
  Trainer(std::shared_ptr<Module> net, const Task& task, const TrainOptions& options);

  /// Continues from a checkpoint. Throws Error, and changes nothing, if the file was written by a
  /// run with other settings.
  void resume(const std::filesystem::path& path);
  /// Trains, and tests after each epoch, until the last one or until interrupted(). With --out,
  /// writes checkpoints as it goes, when it is interrupted and when data cannot be read, and the
  /// weights after each epoch. Throws Diverged if the loss is not finite.
  void run(const Observer& observe);

  /// The epochs that are complete, those before resume() included.
  const std::vector<EpochResult>& epochs() const { return position_.epochs; }
  /// The same, and the epoch that has begun.
  std::vector<EpochResult> results() const;
  std::int64_t steps() const { return position_.step; }
  /// What comes next: "epoch 3, batch 5 of 32", or "its end".
  std::string place() const;
  /// Of every channel (support/figures.h), in the weights that were tested.
  std::vector<double> squared_scales();
  /// What resume() compares, and summary.json reports.
  nlohmann::json settings() const;
  /// Of the steps of this process, with --profile.
  const Profile& profile() const { return profile_; }
  std::int64_t profiled_steps() const { return steps_here_; }

 private:
  /// Where the run is. All of it is in a checkpoint.
  struct Position {
    std::int64_t batch = 0;  // batches of the present epoch that are done
    std::int64_t step = 0;
    double total_loss = 0;  // of the batches of the present epoch
    double seconds = 0;
    std::vector<EpochResult> epochs = {};  // complete

    std::int64_t epoch() const { return static_cast<std::int64_t>(epochs.size()); }
  };

  bool has_folder() const { return !options_.run.out.empty(); }
  void run_epochs(const Observer& observe);
  /// False if interrupted() before its end.
  bool train_epoch(TrainingStep& step);
  void train_batch(TrainingStep& step, const Batch& batch);
  double test_accuracy();
  void save() const;
  void save_weights_of_epoch();
  EpochResult present_epoch() const;

  std::shared_ptr<Module> net_;
  Task task_;
  TrainOptions options_;
  DataLoader batches_;
  DataLoader test_;
  Sgd optimizer_;
  std::optional<Ema> ema_;
  LrSchedule schedule_;
  Position position_;
  Profile profile_;
  std::int64_t steps_here_ = 0;  // of this process
  bool within_step_ = false;     // the weights may be neither those before it nor those after
};

}  // namespace attune::examples
