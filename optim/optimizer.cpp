#include "attune/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/core/step_graph.h"
#include "attune/optim/state_reader.h"

namespace attune {
namespace {

void check_setting(const std::string& op, const char* setting, double value) {
  if (!std::isfinite(value) || value < 0) {
    throw Error(
        format_text("{}: {} is {}, but must be finite and not negative", op, setting, value));
  }
}

std::string group_name(std::size_t group) { return format_text("group{}", group); }

std::string param_name(std::size_t group, std::size_t param) {
  return format_text("group{}.param{}", group, param);
}

bool is_updated(const Tensor& param) { return param.requires_grad() && param.grad().defined(); }

}  // namespace

Optimizer::Optimizer(std::string name, std::vector<ParameterGroup> groups, double lr,
                     double weight_decay, std::vector<std::string> moment_names)
    : name_(std::move(name)), moment_names_(std::move(moment_names)) {
  std::unordered_set<const AutogradMeta*> seen;
  for (ParameterGroup& group : groups) {
    const double group_lr = group.lr.value_or(lr);
    const double group_decay = group.weight_decay.value_or(weight_decay);
    check_setting(name_, "lr", group_lr);
    check_setting(name_, "weight_decay", group_decay);
    for (std::size_t i = 0; i < group.params.size(); ++i) {
      const std::string where = param_name(groups_.size(), i);
      check_parameter(group.params[i], where);
      if (!seen.insert(group.params[i].autograd_meta().get()).second) {
        throw Error(
            format_text("{}: {} ({}) is listed twice", name_, where, describe(group.params[i])));
      }
    }
    std::vector<ParameterState> states(group.params.size());
    groups_.push_back(
        {std::move(group.params), group_lr, group_lr, group_decay, std::move(states)});
  }
  if (seen.empty()) throw Error(name_ + ": there are no parameters");
}

void Optimizer::check_parameter(const Tensor& param, const std::string& where) const {
  if (param.retired()) {
    throw Error(format_text(
        "{}: {} ({}) is no longer part of its model, which deploy(), undeploy() or to() has "
        "changed since; build a new optimizer from the model's parameters",
        name_, where, describe(param)));
  }
  if (!param.defined() || !param.requires_grad()) {
    throw Error(
        format_text("{}: {} ({}) does not require a gradient", name_, where, describe(param)));
  }
  if (param.autograd_meta()->producer) {
    throw Error(format_text("{}: {} ({}) was computed by '{}'; only leaves can be parameters",
                            name_, where, describe(param),
                            param.autograd_meta()->producer->name()));
  }
}

const Optimizer::Group& Optimizer::at(std::size_t group) const {
  if (group >= groups_.size()) {
    throw Error(
        format_text("{}: there are {} groups, but no group {}", name_, groups_.size(), group));
  }
  return groups_[group];
}

// All that can fail happens here, so that no parameter is updated unless all are.
void Optimizer::prepare_step() {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    for (std::size_t i = 0; i < group.params.size(); ++i) {
      const Tensor& param = group.params[i];
      if (param.retired()) check_parameter(param, "step: " + param_name(g, i));
      if (!is_updated(param)) continue;
      check_compatible((name_ + ": step").c_str(), param, param.grad());
      if (!group.states[i].moments.empty()) continue;
      if (recording_step() && !moment_names_.empty()) {
        throw Error(format_text("{}: step: a step that is being recorded is the first of {}", name_,
                                param_name(g, i)));
      }
      std::vector<Tensor> moments;
      for (std::size_t m = 0; m < moment_names_.size(); ++m) {
        moments.push_back(
            Tensor::zeros(param.shape(), param.dtype(), param.device(), MemoryPurpose::optimizer));
      }
      group.states[i].moments = std::move(moments);
    }
  }
}

void Optimizer::step() {
  const OpTimer timer(name_);
  prepare_step();
  for (Group& group : groups_) step(group);
}

// Usually there is one batch: parameters of another dtype or device, or that had no gradient in
// some steps, have one of their own.
void Optimizer::step(Group& group) {
  struct Batch {
    std::int64_t steps;
    std::vector<Update> updates;
    std::vector<std::size_t> numbers;  // in the group
  };
  std::vector<Batch> batches;
  for (std::size_t i = 0; i < group.params.size(); ++i) {
    const Tensor& param = group.params[i];
    if (!is_updated(param)) continue;
    ParameterState& state = group.states[i];
    ++state.steps;
    auto batch = std::find_if(batches.begin(), batches.end(), [&](const Batch& other) {
      const Tensor& first = other.updates.front().param;
      return other.steps == state.steps && first.dtype() == param.dtype() &&
             first.device() == param.device();
    });
    if (batch == batches.end()) batch = batches.insert(batch, {state.steps, {}, {}});
    batch->updates.push_back({param, param.grad(), state.moments});
    batch->numbers.push_back(i);
  }
  for (Batch& batch : batches) {
    if (recording_step()) {
      before_replay([&group, numbers = batch.numbers] {
        for (const std::size_t i : numbers) ++group.states[i].steps;
      });
    }
    const auto lr = step_value<double>([&group] { return group.lr; });
    const auto steps = step_value<std::int64_t>(
        [&group, first = batch.numbers.front()] { return group.states[first].steps; });
    update(std::move(batch.updates), {lr, group.weight_decay, steps});
  }
}

void Optimizer::zero_grad() {
  for (Group& group : groups_) {
    for (Tensor& param : group.params) param.zero_grad();
  }
}

void Optimizer::set_lr(double lr, std::size_t group) {
  check_setting(name_, "lr", lr);
  at(group);
  groups_[group].lr = lr;
}

void Optimizer::set_lr_factor(double factor) {
  check_setting(name_, "the learning rate's factor", factor);
  for (Group& group : groups_) group.lr = factor * group.base_lr;
}

OptimizerState Optimizer::state() const {
  OptimizerState state;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    state.emplace_back(group_name(g) + ".lr", state_entry(group.lr));
    for (std::size_t i = 0; i < group.states.size(); ++i) {
      const ParameterState& entry = group.states[i];
      if (entry.steps == 0) continue;
      const std::string prefix = param_name(g, i) + ".";
      state.emplace_back(prefix + "steps", state_entry(entry.steps));
      for (std::size_t m = 0; m < moment_names_.size(); ++m) {
        state.emplace_back(prefix + moment_names_[m], entry.moments[m]);
      }
    }
  }
  return state;
}

void Optimizer::load_state(const OptimizerState& state) {
  const std::string op = name_ + ": load_state";
  StateReader reader(op, state);
  std::vector<double> rates;
  std::vector<std::vector<ParameterState>> states;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    rates.push_back(reader.take_real(group_name(g) + ".lr"));
    check_setting(op, "lr", rates.back());
    states.emplace_back(group.params.size());
    for (std::size_t i = 0; i < group.params.size(); ++i) {
      const std::string prefix = param_name(g, i) + ".";
      if (!reader.has(prefix + "steps")) continue;  // was never updated
      ParameterState& loaded = states.back()[i];
      loaded.steps = reader.take_count(prefix + "steps", 1);
      for (const std::string& moment : moment_names_) {
        loaded.moments.push_back(reader.take_copy(prefix + moment, group.params[i]));
      }
    }
  }
  reader.check_empty();
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    groups_[g].lr = rates[g];
    groups_[g].states = std::move(states[g]);
  }
}

}  // namespace attune
