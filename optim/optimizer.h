#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/tensor.h"
#include "attune/kernels/step_value.h"

namespace attune {

/// Parameters that share settings. What is not set here is the optimizer's own:
///
///     Sgd sgd({{.params = weights}, {.params = biases, .weight_decay = 0}},
///             {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4});
struct ParameterGroup {
  std::vector<Tensor> params;
  std::optional<double> lr = std::nullopt;
  std::optional<double> weight_decay = std::nullopt;
};

/// What a checkpoint keeps of an optimizer: tensors by name, such as "group0.param3.velocity"
/// (shaped like the parameter), "group0.param3.steps" and "group0.lr" (rank 0, on the CPU).
using OptimizerState = std::vector<std::pair<std::string, Tensor>>;

/// Changes parameters by their gradients. One update is
///
///     optimizer.zero_grad();
///     loss.backward();
///     optimizer.step();
///
/// An optimizer holds handles to parameters, not to the model. When the model replaces a parameter
/// (deploy(), undeploy(), to()), step() refuses: build a new optimizer then.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that requires a gradient and has one; the others are skipped. Throws
  /// Error, before anything is changed, if a parameter has been replaced by its layer.
  void step();
  /// Drops the gradient of every parameter, and its memory.
  void zero_grad();

  std::size_t group_count() const { return groups_.size(); }
  const std::vector<Tensor>& params(std::size_t group = 0) const { return at(group).params; }
  double weight_decay(std::size_t group = 0) const { return at(group).weight_decay; }

  /// The learning rate that the next step() uses.
  double lr(std::size_t group = 0) const { return at(group).lr; }
  /// The learning rate the group was made with: what schedules are relative to.
  double base_lr(std::size_t group = 0) const { return at(group).base_lr; }
  /// Throws Error unless `lr` is finite and not negative.
  void set_lr(double lr, std::size_t group = 0);
  /// Sets every group's learning rate to `factor` times its base_lr(). This is how a schedule
  /// (optim/lr_schedule.h) is applied: optimizer.set_lr_factor(schedule(step)).
  void set_lr_factor(double factor);

  /// Everything that step() and set_lr() have changed. Settings given to the constructor are not
  /// part of it. The tensors share their elements with the optimizer: clone what must outlive the
  /// next step().
  OptimizerState state() const;
  /// Continues from what state() gave: with the same parameters and gradients, the following steps
  /// are bit for bit those of the saved optimizer. The elements are copied. Throws Error, and
  /// changes nothing, if a name is missing, unexpected or given twice, or a shape or dtype differs.
  void load_state(const OptimizerState& state);

 protected:
  /// A parameter in an update, its gradient and what is remembered about it.
  struct Update {
    Tensor param, grad;
    std::vector<Tensor> moments;  // one for each moment name, shaped like the parameter
  };
  /// What several parameters have in common in an update.
  struct UpdateSettings {
    kernels::StepValue<double> lr;
    double weight_decay = 0;
    kernels::StepValue<std::int64_t> steps;  // updates so far, the current one included
  };

  /// `name` begins every error message. `moment_names` says which tensors are kept beside each
  /// parameter; they begin as zeros, on its device, when it is first updated. Throws Error if there
  /// is no parameter at all, one is listed twice or is no leaf that requires a gradient, or a
  /// setting is negative or not finite.
  Optimizer(std::string name, std::vector<ParameterGroup> groups, double lr, double weight_decay,
            std::vector<std::string> moment_names);

  /// One update of parameters that have dtype, device and settings in common: on a GPU, a network's
  /// hundreds of small tensors are then a few launches. There is at least one.
  virtual void update(std::vector<Update> updates, const UpdateSettings& settings) const = 0;

 private:
  struct ParameterState {
    std::int64_t steps = 0;
    std::vector<Tensor> moments;
  };
  struct Group {
    std::vector<Tensor> params;
    double base_lr, lr, weight_decay;
    std::vector<ParameterState> states;  // one for each parameter
  };

  const Group& at(std::size_t group) const;
  void check_parameter(const Tensor& param, const std::string& where) const;
  void prepare_step();
  void step(Group& group);

  std::string name_;
  std::vector<std::string> moment_names_;
  std::vector<Group> groups_;
};

}  // namespace attune
