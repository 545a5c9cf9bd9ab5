#include "attune/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "attune/core/error.h"
#include "attune/core/format_text.h"

namespace attune {
namespace {

// `wanted` says what the argument must be. Conditions are written so that NaN fails them.
void check(bool condition, const char* schedule, const char* argument, double value,
           const char* wanted) {
  if (!condition) {
    throw Error(format_text("{}: {} is {}, but must be {}", schedule, argument, value, wanted));
  }
}

void check_step(const char* schedule, std::int64_t step) {
  check(step >= 0, schedule, "step", static_cast<double>(step), "at least 0");
}

void check_gamma(const char* schedule, double gamma) {
  check(gamma > 0 && std::isfinite(gamma), schedule, "gamma", gamma, "positive and finite");
}

// Half a cosine from `start` at progress 0 to `end` at progress 1.
double cosine(double start, double end, double progress) {
  return end + (start - end) * (1 + std::cos(std::numbers::pi * progress)) / 2;
}

}  // namespace

StepLr::StepLr(std::int64_t period, double gamma) : period_(period), gamma_(gamma) {
  check(period > 0, "StepLr", "period", static_cast<double>(period), "positive");
  check_gamma("StepLr", gamma);
}

double StepLr::operator()(std::int64_t step) const {
  check_step("StepLr", step);
  const std::int64_t reductions = step / period_;
  return std::pow(gamma_, static_cast<double>(reductions));
}

MultiStepLr::MultiStepLr(std::vector<std::int64_t> milestones, double gamma)
    : milestones_(std::move(milestones)), gamma_(gamma) {
  std::int64_t previous = 0;
  for (const std::int64_t milestone : milestones_) {
    check(milestone > previous, "MultiStepLr", "a milestone", static_cast<double>(milestone),
          "positive and larger than the one before");
    previous = milestone;
  }
  check_gamma("MultiStepLr", gamma);
}

double MultiStepLr::operator()(std::int64_t step) const {
  check_step("MultiStepLr", step);
  const auto next = std::upper_bound(milestones_.begin(), milestones_.end(), step);
  return std::pow(gamma_, static_cast<double>(next - milestones_.begin()));
}

CosineLr::CosineLr(std::int64_t total, double min_factor) : total_(total), min_factor_(min_factor) {
  check(total > 0, "CosineLr", "total", static_cast<double>(total), "positive");
  check(min_factor >= 0 && min_factor <= 1, "CosineLr", "min_factor", min_factor, "in [0, 1]");
}

double CosineLr::operator()(std::int64_t step) const {
  check_step("CosineLr", step);
  const double progress = static_cast<double>(std::min(step, total_)) / static_cast<double>(total_);
  return cosine(1, min_factor_, progress);
}

OneCycleLr::OneCycleLr(std::int64_t total, const OneCycleOptions& options)
    : peak_step_(options.warm_up * static_cast<double>(total) - 1),
      last_step_(static_cast<double>(total) - 1),
      first_factor_(1 / options.div_factor),
      last_factor_(first_factor_ / options.final_div_factor) {
  check(total > 0, "OneCycleLr", "total", static_cast<double>(total), "positive");
  check(options.warm_up > 0 && options.warm_up < 1, "OneCycleLr", "warm_up", options.warm_up,
        "in (0, 1)");
  check(options.div_factor >= 1, "OneCycleLr", "div_factor", options.div_factor, "at least 1");
  check(options.final_div_factor >= 1, "OneCycleLr", "final_div_factor", options.final_div_factor,
        "at least 1");
  check(peak_step_ > 0, "OneCycleLr", "warm_up * total", peak_step_ + 1, "more than one step");
}

double OneCycleLr::operator()(std::int64_t step) const {
  check_step("OneCycleLr", step);
  const auto at = static_cast<double>(step);
  if (at <= peak_step_) return cosine(first_factor_, 1, at / peak_step_);
  const double progress = (at - peak_step_) / (last_step_ - peak_step_);
  return cosine(1, last_factor_, std::min(progress, 1.0));
}

LinearWarmup::LinearWarmup(std::int64_t steps, LrSchedule after, double start_factor)
    : steps_(steps), after_(std::move(after)), start_factor_(start_factor) {
  check(steps > 0, "LinearWarmup", "steps", static_cast<double>(steps), "positive");
  check(start_factor > 0 && start_factor <= 1, "LinearWarmup", "start_factor", start_factor,
        "in (0, 1]");
  if (!after_) throw Error("LinearWarmup: there is no schedule for after the warm-up");
}

double LinearWarmup::operator()(std::int64_t step) const {
  check_step("LinearWarmup", step);
  if (step >= steps_) return after_(step - steps_);
  const double progress = static_cast<double>(step) / static_cast<double>(steps_);
  return after_(0) * (start_factor_ + (1 - start_factor_) * progress);
}

ReduceOnPlateau::ReduceOnPlateau(const ReduceOnPlateauOptions& options) : options_(options) {
  const char* name = "ReduceOnPlateau";
  check(options.gamma > 0 && options.gamma < 1, name, "gamma", options.gamma, "in (0, 1)");
  check(options.patience >= 0, name, "patience", static_cast<double>(options.patience),
        "at least 0");
  check(options.cooldown >= 0, name, "cooldown", static_cast<double>(options.cooldown),
        "at least 0");
  check(options.threshold >= 0 && std::isfinite(options.threshold), name, "threshold",
        options.threshold, "finite and at least 0");
  check(options.min_factor >= 0 && options.min_factor <= 1, name, "min_factor", options.min_factor,
        "in [0, 1]");
}

// PyTorch's definition: a relative threshold is a share of the best value itself, not of its size,
// so that it asks nothing sensible of a negative metric.
bool ReduceOnPlateau::improves(double metric) const {
  if (std::isnan(state_.best)) return !std::isnan(metric);
  const double margin =
      options_.absolute_threshold ? options_.threshold : options_.threshold * state_.best;
  return options_.maximize ? metric > state_.best + margin : metric < state_.best - margin;
}

double ReduceOnPlateau::observe(double metric) {
  if (improves(metric)) {
    state_.best = metric;
    state_.failures = 0;
  } else {
    ++state_.failures;
  }
  if (state_.cooldown > 0) {
    --state_.cooldown;
    state_.failures = 0;
  }
  if (state_.failures > options_.patience) {
    state_.factor = std::max(state_.factor * options_.gamma, options_.min_factor);
    state_.cooldown = options_.cooldown;
    state_.failures = 0;
  }
  return state_.factor;
}

}  // namespace attune
