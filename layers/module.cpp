#include "attune/layers/module.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/layers/construct_on.h"

namespace attune {
namespace {

thread_local CallObserver* innermost_observer = nullptr;

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() || name.empty() ? prefix + name : prefix + "." + name;
}

// "a.b" lies within "a"
bool is_within(const std::string& name, const std::string& whole) {
  return name == whole || name.starts_with(whole + ".");
}

// A counter that PyTorch added later; nothing is computed from it.
bool is_optional(const std::string& name) {
  return name == "num_batches_tracked" || name.ends_with(".num_batches_tracked");
}

}  // namespace

std::string to_string(const LoadReport& report) {
  const auto listed = [](std::vector<std::string> texts) {
    constexpr std::size_t kMost = 8;
    if (texts.size() <= kMost) return join_text(texts, ", ");
    const std::size_t more = texts.size() - kMost;
    texts.resize(kMost);
    return format_text("{} and {} more", join_text(texts, ", "), more);
  };
  const auto differences = [&](const std::vector<LoadReport::Mismatch>& mismatches) {
    std::vector<std::string> texts;
    texts.reserve(mismatches.size());
    for (const LoadReport::Mismatch& mismatch : mismatches) {
      texts.push_back(format_text("{} is {}, not {}", mismatch.name, to_string(mismatch.found),
                                  to_string(mismatch.wanted)));
    }
    return listed(std::move(texts));
  };
  std::vector<std::string> parts;
  if (!report.missing.empty()) {
    parts.push_back(format_text("missing: {}", listed(report.missing)));
  }
  if (!report.unexpected.empty()) {
    parts.push_back(format_text("unexpected: {}", listed(report.unexpected)));
  }
  if (!report.mismatched.empty()) {
    parts.push_back(format_text("of another shape: {}", differences(report.mismatched)));
  }
  if (!report.replaced.empty()) {
    parts.push_back(format_text("new head: {}", differences(report.replaced)));
  }
  return parts.empty() ? "complete" : join_text(parts, "; ");
}

// ---- CallObserver ----

CallObserver::CallObserver(Callback callback)
    : callback_(std::move(callback)), outer_(innermost_observer) {
  innermost_observer = this;
}

CallObserver::~CallObserver() { innermost_observer = outer_; }

void CallObserver::notify(Module& module, const Tensor& input, const Tensor& output) {
  for (CallObserver* observer = innermost_observer; observer; observer = observer->outer_) {
    observer->callback_(module, input, output);
  }
}

// ---- Registration ----

// Children may outlive their parent, if somebody else holds them.
Module::~Module() {
  for (const Child& child : children_) child.module->parent_ = nullptr;
}

std::string Module::Child::rename(const std::string& tensor_name) const {
  if (bn_name.empty()) return join(name, tensor_name);
  if (tensor_name.starts_with("conv.")) return name + tensor_name.substr(4);
  if (tensor_name.starts_with("bn.")) return bn_name + tensor_name.substr(2);
  throw Error(format_text("register_conv_bn: '{}' of {} {} is neither conv.* nor bn.*", tensor_name,
                          module->type_name(), name));
}

void Module::check_name(const std::string& name) const {
  const auto check = [&](const std::string& taken) {
    if (is_within(name, taken) || is_within(taken, name)) {
      throw Error(format_text("register: '{}' and '{}' in one {}", name, taken, type_name()));
    }
  };
  if (name.empty()) throw Error(format_text("register: a name is empty in a {}", type_name()));
  for (const Slot& slot : slots_) check(slot.name);
  for (const Child& child : children_) {
    check(child.name);
    if (!child.bn_name.empty()) check(child.bn_name);
  }
}

void Module::add_slot(const std::string& name, Tensor& tensor, bool is_parameter) {
  check_name(name);
  if (!tensor.defined()) {
    throw Error(format_text("register: '{}' of a {} is undefined", name, type_name()));
  }
  if (const auto device = ConstructOn::device()) tensor = tensor.to(*device);
  tensor.storage().set_purpose(MemoryPurpose::parameter);
  slots_.push_back({name, &tensor, is_parameter});
}

void Module::register_parameter(const std::string& name, Tensor& tensor, bool requires_grad) {
  add_slot(name, tensor, true);
  tensor.set_requires_grad(requires_grad);
}

void Module::register_buffer(const std::string& name, Tensor& tensor) {
  add_slot(name, tensor, false);
}

void Module::register_optional_buffer(const std::string& name, Tensor& tensor,
                                      const Tensor& model) {
  if (tensor.defined()) {
    add_slot(name, tensor, false);
  } else {
    check_name(name);
    slots_.push_back({name, &tensor, false});
  }
  slots_.back().model = &model;
}

void Module::add_child(Child child) {
  if (!child.module) throw Error(format_text("register: module '{}' is null", child.name));
  if (child.module->parent_) {
    throw Error(format_text("register: the {} given as '{}' is '{}' of a {} already",
                            child.module->type_name(), child.name, child.module->name_,
                            child.module->parent_->type_name()));
  }
  check_name(child.name);
  if (!child.bn_name.empty()) {
    check_name(child.bn_name);
    if (is_within(child.name, child.bn_name) || is_within(child.bn_name, child.name)) {
      throw Error(format_text("register: '{}' and '{}' for one {}", child.name, child.bn_name,
                              child.module->type_name()));
    }
    for (const Slot& slot : child.module->all_slots()) child.rename(slot.name);
  }
  child.module->parent_ = this;
  child.module->name_ = child.name;
  children_.push_back(std::move(child));
}

void Module::unregister_module(const std::string& name) {
  const auto child = std::find_if(children_.begin(), children_.end(),
                                  [&](const Child& candidate) { return candidate.name == name; });
  if (child == children_.end()) {
    throw Error(format_text("unregister: a {} has no module '{}'", type_name(), name));
  }
  child->module->parent_ = nullptr;
  children_.erase(child);
}

std::string Module::path() const { return parent_ ? join(parent_->path(), name_) : ""; }

std::int64_t Module::flops(const Shape&, const Shape&) const { return 0; }

// ---- Modules and tensors below ----

void Module::for_each_module(const std::function<void(const std::string&, Module&)>& visit) {
  visit("", *this);
  for (const Child& child : children_) {
    child.module->for_each_module(
        [&](const std::string& name, Module& module) { visit(join(child.name, name), module); });
  }
}

void Module::for_each_module(
    const std::function<void(const std::string&, const Module&)>& visit) const {
  visit("", *this);
  for (const Child& child : children_) {
    std::as_const(*child.module)
        .for_each_module([&](const std::string& name, const Module& module) {
          visit(join(child.name, name), module);
        });
  }
}

std::vector<Module::Slot> Module::all_slots() const {
  std::vector<Slot> slots = all_slots_even_undefined();
  std::erase_if(slots, [](const Slot& slot) { return !slot.tensor->defined(); });
  return slots;
}

std::vector<Module::Slot> Module::all_slots_even_undefined() const {
  std::vector<Slot> slots;
  // PyTorch's order: parameters before buffers.
  for (const bool parameters : {true, false}) {
    std::copy_if(slots_.begin(), slots_.end(), std::back_inserter(slots),
                 [=](const Slot& slot) { return slot.is_parameter == parameters; });
  }
  for (const Child& child : children_) {
    for (Slot& slot : child.module->all_slots_even_undefined()) {
      slots.push_back(
          {child.rename(slot.name), slot.tensor, slot.is_parameter && !child.folded, slot.model});
    }
  }
  return slots;
}

NamedTensors Module::named(bool parameters) const {
  NamedTensors named;
  for (const Slot& slot : all_slots()) {
    if (slot.is_parameter == parameters) named.emplace_back(slot.name, *slot.tensor);
  }
  return named;
}

NamedTensors Module::named_parameters() const { return named(true); }
NamedTensors Module::named_buffers() const { return named(false); }

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> parameters;
  for (auto& [name, tensor] : named_parameters()) parameters.push_back(std::move(tensor));
  return parameters;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const Slot& slot : all_slots()) count += slot.is_parameter ? slot.tensor->count() : 0;
  return count;
}

std::int64_t Module::own_parameter_count() const {
  std::int64_t count = 0;
  for (const Slot& slot : slots_) count += slot.is_parameter ? slot.tensor->count() : 0;
  return count;
}

// ---- State ----

NamedTensors Module::state_dict() const {
  NamedTensors state;
  for (const Slot& slot : all_slots()) state.emplace_back(slot.name, slot.tensor->detach());
  return state;
}

LoadReport Module::load_state_dict(const NamedTensors& state, bool strict) {
  std::unordered_map<std::string, Tensor> given;
  for (const auto& [name, tensor] : state) {
    if (!tensor.defined()) throw Error(format_text("load_state_dict: '{}' is undefined", name));
    if (!given.emplace(name, tensor).second) {
      throw Error(format_text("load_state_dict: '{}' is given twice", name));
    }
  }
  LoadReport report;
  std::vector<std::pair<Slot, Tensor>> fitting;
  std::vector<std::pair<Slot, Tensor>> appearing;  // optional buffers that were undefined
  std::vector<Slot> absent;                        // optional buffers that the dictionary lacks
  std::unordered_set<std::string> known;
  for (const Slot& slot : all_slots_even_undefined()) {
    known.insert(slot.name);
    const Tensor& wanted = slot.model != nullptr ? *slot.model : *slot.tensor;
    const auto found = given.find(slot.name);
    if (found == given.end()) {
      if (slot.model != nullptr) {
        absent.push_back(slot);
      } else if (!is_optional(slot.name)) {
        report.missing.push_back(slot.name);
      }
    } else if (found->second.shape() != wanted.shape()) {
      report.mismatched.push_back({slot.name, wanted.shape(), found->second.shape()});
    } else if (found->second.device() == Device::meta && wanted.device() != Device::meta) {
      throw Error(format_text("load_state_dict: '{}' is on meta and has no elements", slot.name));
    } else if (!slot.tensor->defined()) {
      appearing.emplace_back(slot, Tensor::empty(wanted.shape(), wanted.dtype(), wanted.device(),
                                                 MemoryPurpose::parameter));
      appearing.back().second.copy_(found->second);
    } else {
      fitting.emplace_back(slot, found->second);
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!known.contains(name)) report.unexpected.push_back(name);
  }
  if (strict && !report.complete()) {
    throw Error(format_text("load_state_dict: {}", to_string(report)));
  }
  const NoGradGuard no_grad;
  std::unordered_set<const Tensor*> loaded;
  for (auto& [slot, tensor] : fitting) {
    loaded.insert(slot.tensor);
    slot.tensor->copy_(tensor);
  }
  for (auto& [slot, tensor] : appearing) *slot.tensor = tensor;
  for (const Slot& slot : absent) {
    if (loaded.contains(slot.model)) *slot.tensor = {};
  }
  return report;
}

// ---- Modes ----

void Module::set_mode(Mode mode) {
  for_each_module([=](const std::string&, Module& module) { module.check_set_mode(mode); });
  for_each_module([=](const std::string&, Module& module) { module.on_set_mode(mode); });
}

void Module::deploy() {
  std::vector<Module*> modules;
  for_each_module([&](const std::string&, Module& module) {
    module.check_deploy();
    modules.push_back(&module);
  });
  std::for_each(modules.rbegin(), modules.rend(), [](Module* module) { module->on_deploy(); });
}

void Module::undeploy() {
  for_each_module([](const std::string&, Module& module) { module.check_undeploy(); });
  for_each_module([](const std::string&, Module& module) { module.on_undeploy(); });
}

void Module::set_recompute(const Recompute& recompute) {
  for_each_module([&](const std::string&, Module& module) { module.on_set_recompute(recompute); });
}

void Module::train(bool training) {
  for_each_module([=](const std::string&, Module& module) { module.training_ = training; });
}

// ---- Tensors as a whole ----

void Module::replace_tensors(const std::function<Tensor(const Tensor&)>& convert) {
  // All conversions come first: one that fails (no memory, no such device) must change nothing.
  std::vector<std::pair<Slot, Tensor>> replacements;
  for (const Slot& slot : all_slots()) {
    Tensor converted = convert(*slot.tensor);
    if (converted.shared_storage() != slot.tensor->shared_storage()) {
      replacements.emplace_back(slot, std::move(converted));
    }
  }
  for (auto& [slot, tensor] : replacements) {
    tensor.set_requires_grad(slot.tensor->requires_grad());
    if (slot.is_parameter) slot.tensor->retire();
    *slot.tensor = std::move(tensor);
  }
}

void Module::to(Device device) {
  replace_tensors([=](const Tensor& tensor) { return tensor.to(device); });
}

void Module::to(DType dtype) {
  if (!is_floating(dtype)) {
    throw Error(format_text("to: a module's dtype cannot be {}", to_string(dtype)));
  }
  replace_tensors([=](const Tensor& tensor) {
    return is_floating(tensor.dtype()) ? tensor.to(dtype) : tensor;
  });
}

void Module::zero_grad() {
  for (Tensor& parameter : parameters()) parameter.zero_grad();
}

void Module::set_parameters_require_grad(bool requires_grad) {
  for (Tensor& parameter : parameters()) {
    parameter.zero_grad();
    parameter.set_requires_grad(requires_grad);
  }
}

void Module::freeze() { set_parameters_require_grad(false); }
void Module::unfreeze() { set_parameters_require_grad(true); }

}  // namespace attune
