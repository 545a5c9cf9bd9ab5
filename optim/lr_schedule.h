#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace attune {

/// A learning-rate schedule is a pure function: from how many steps have been taken (of whatever
/// kind the caller counts: batches, epochs) to the factor by which every group's base learning rate
/// is multiplied for the next one. It knows no optimizer and has no state, so resuming at step 1000
/// means calling it with 1000:
///
///     const LrSchedule schedule = LinearWarmup(500, CosineLr(20000));
///     optimizer.set_lr_factor(schedule(step));
///
/// Any function will do; below are the usual ones, as PyTorch defines them. Their constructors
/// throw Error on bad arguments, and all throw on a negative step.
using LrSchedule = std::function<double(std::int64_t step)>;

/// gamma^floor(step / period).
class StepLr {
 public:
  explicit StepLr(std::int64_t period, double gamma = 0.1);
  double operator()(std::int64_t step) const;

 private:
  std::int64_t period_;
  double gamma_;
};

/// gamma^(number of milestones reached). Milestones must be positive and increase.
class MultiStepLr {
 public:
  explicit MultiStepLr(std::vector<std::int64_t> milestones, double gamma = 0.1);
  double operator()(std::int64_t step) const;

 private:
  std::vector<std::int64_t> milestones_;
  double gamma_;
};

/// From 1 to `min_factor` along half a cosine, where it stays after `total` steps (Loshchilov and
/// Hutter, arXiv 1608.03983, equation 5, without restarts).
class CosineLr {
 public:
  explicit CosineLr(std::int64_t total, double min_factor = 0);
  double operator()(std::int64_t step) const;

 private:
  std::int64_t total_;
  double min_factor_;
};

struct OneCycleOptions {
  double warm_up = 0.3;           ///< share of the steps in which the rate rises, in (0, 1)
  double div_factor = 25;         ///< the first rate is the peak divided by this
  double final_div_factor = 1e4;  ///< the last rate is the first one divided by this
};

/// Up along half a cosine, then down along another (Smith and Topin, arXiv 1708.07120; PyTorch's
/// two-phase form, momentum left alone). The base learning rate is the peak, reached at step
/// warm_up * total - 1; step total - 1 is the last, after which the factor stays.
class OneCycleLr {
 public:
  explicit OneCycleLr(std::int64_t total, const OneCycleOptions& options = {});
  double operator()(std::int64_t step) const;

 private:
  double peak_step_, last_step_, first_factor_, last_factor_;
};

/// For `steps` steps, the factor of `after` at 0 times a ramp from `start_factor` up to 1; then
/// `after`, counting from there.
class LinearWarmup {
 public:
  LinearWarmup(std::int64_t steps, LrSchedule after, double start_factor = 0.1);
  double operator()(std::int64_t step) const;

 private:
  std::int64_t steps_;
  LrSchedule after_;
  double start_factor_;
};

struct ReduceOnPlateauOptions {
  bool maximize = false;       ///< the metric is an accuracy (grows) rather than a loss (shrinks)
  double gamma = 0.1;          ///< what the factor is multiplied by, in (0, 1)
  std::int64_t patience = 10;  ///< how many observations in a row may fail to improve
  std::int64_t cooldown = 0;   ///< observations after a reduction that do not count as failures
  /// An improvement is at least this share of the best value, or this difference.
  double threshold = 1e-4;
  bool absolute_threshold = false;
  double min_factor = 0;
};

/// Lowers the learning rate when a metric stops improving. Unlike the schedules above it depends on
/// what happened, so it has a state, which a checkpoint must keep.
///
///     optimizer.set_lr_factor(plateau.observe(validation_loss));
class ReduceOnPlateau {
 public:
  struct State {
    double best = std::numeric_limits<double>::quiet_NaN();  ///< NaN: nothing observed yet
    double factor = 1;
    std::int64_t failures = 0;  ///< observations in a row without an improvement
    std::int64_t cooldown = 0;  ///< observations still to ignore
  };

  explicit ReduceOnPlateau(const ReduceOnPlateauOptions& options = {});
  /// Takes one value of the metric (NaN is never an improvement) and returns the factor from now.
  double observe(double metric);

  const State& state() const { return state_; }
  void load_state(const State& state) { state_ = state; }

 private:
  bool improves(double metric) const;

  ReduceOnPlateauOptions options_;
  State state_;
};

}  // namespace attune
