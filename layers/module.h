#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/tensor.h"
#include "attune/layers/mode.h"
#include "attune/layers/recompute.h"

namespace attune {

/// What load_state_dict() could not place.
struct LoadReport {
  struct Mismatch {
    std::string name;
    Shape wanted;  ///< of the module
    Shape found;   ///< in the dictionary
  };
  std::vector<std::string> missing;     ///< in the module, not in the dictionary
  std::vector<std::string> unexpected;  ///< in the dictionary, not in the module
  std::vector<Mismatch> mismatched;
  /// Left alone because it was asked to (LoadOptions::replace_head): a classifier for other
  /// classes.
  std::vector<Mismatch> replaced;

  /// Whether all that was to be placed has been.
  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

/// One line: of each kind the first few, and how many more there are.
std::string to_string(const LoadReport& report);

class Module;

/// While it lives, calls `callback` after each module call on this thread: the innermost modules
/// first. Of use to measure a network without changing it.
class CallObserver {
 public:
  using Callback = std::function<void(Module& module, const Tensor& input, const Tensor& output)>;

  explicit CallObserver(Callback callback);
  ~CallObserver();
  CallObserver(const CallObserver&) = delete;
  CallObserver& operator=(const CallObserver&) = delete;

 private:
  friend class Module;
  static void notify(Module& module, const Tensor& input, const Tensor& output);

  Callback callback_;
  CallObserver* outer_;
};

/// A part of a network: tensors that have names, other modules that have names, and a function.
///
/// A derived class holds its tensors as members, registers each in its constructor, and overrides
/// forward(). Registration stores the member's address, so modules are neither copied nor moved and
/// live in a std::shared_ptr.
///
///     class Scale : public Module {
///      public:
///       explicit Scale(std::int64_t channels) : factor_(Tensor::ones({channels})) {
///         register_parameter("factor", factor_);
///       }
///       Tensor forward(const Tensor& x) override { return mul(x, factor_); }
///
///      private:
///       Tensor factor_;
///     };
///
/// Names follow PyTorch: a child's tensors carry the child's name and a dot in front.
class Module {
 public:
  Module() = default;
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x) = 0;
  /// forward(), whose autograd nodes are labelled with path(), and which CallObservers see.
  Tensor operator()(const Tensor& x) {
    return call(x, [&] { return forward(x); });
  }

  /// The class, for tables: "Conv2d".
  virtual std::string type_name() const { return "Module"; }
  /// Floating-point operations of one forward() from `input` to `output`, children excluded. As in
  /// the literature, only multiply-adds of convolutions and linear layers count, as two each.
  virtual std::int64_t flops(const Shape& input, const Shape& output) const;
  /// The dotted name within the outermost module, such as "layer1.0.conv1"; empty for that module.
  std::string path() const;

  // ---- Modules and tensors below ----

  /// Visits this module (whose name is empty) and all below it, parents first.
  void for_each_module(const std::function<void(const std::string& name, Module&)>& visit);
  void for_each_module(
      const std::function<void(const std::string& name, const Module&)>& visit) const;
  /// With their dotted names, in the order of registration. The tensors share their elements with
  /// the module's.
  NamedTensors named_parameters() const;
  NamedTensors named_buffers() const;
  std::vector<Tensor> parameters() const;
  /// Number of elements of all parameters, frozen ones included.
  std::int64_t parameter_count() const;
  /// The same, without the modules below.
  std::int64_t own_parameter_count() const;
  bool has_children() const { return !children_.empty(); }

  /// All parameters and buffers, each module's parameters before its buffers and both before its
  /// children, as in PyTorch. The tensors share the module's elements: clone() what must not follow
  /// further training.
  NamedTensors state_dict() const;
  /// Copies elements from `state`, converting dtypes. If anything is missing, unexpected or of
  /// another shape: throws Error with the report as text, and changes nothing, when `strict`;
  /// otherwise loads what fits. A missing "num_batches_tracked" is not reported: older PyTorch
  /// files lack it.
  LoadReport load_state_dict(const NamedTensors& state, bool strict = true);

  // ---- Modes ----

  /// Sets the mode of this module and all below it, except pinned ones. If one of them refuses,
  /// throws Error that names it, and changes none.
  void set_mode(Mode mode);
  /// Replaces the weights of every foldable layer by their folded form, and sets Mode::deploy. The
  /// replaced parameters are retired. If one layer refuses, throws Error and changes none.
  void deploy();
  /// The inverse of deploy(); the layers are in Mode::eval afterwards.
  void undeploy();

  /// What backward computes again instead of keeping it, here and below; nothing at first. Changes
  /// no result. Holds from the next forward() on, through changes of mode, deploy() and undeploy().
  void set_recompute(const Recompute& recompute);

  /// Whether dropout drops. The mode of batch normalisation is set_mode()'s business.
  void train(bool training = true);
  bool training() const { return training_; }

  // ---- Tensors as a whole ----

  /// Moves all parameters and buffers. Those that were parameters are retired, and gradients are
  /// dropped, so build the optimizer afterwards.
  void to(Device device);
  /// The same for the dtype of the floating ones.
  void to(DType dtype);
  void zero_grad();
  /// Ends (or restores) the training of all parameters here and below. Drops gradients.
  void freeze();
  void unfreeze();

 protected:
  /// Makes a member a parameter (or buffer) under `name`, which may contain dots. Throws Error if
  /// the tensor is undefined, or if the name is taken, or part of another (as "a" is of "a.b").
  void register_parameter(const std::string& name, Tensor& tensor, bool requires_grad = true);
  void register_buffer(const std::string& name, Tensor& tensor);
  /// A buffer that may be undefined, and then is no part of the state. If it exists it is like
  /// `model`, another registered tensor. load_state_dict() takes both together: with `model`, the
  /// buffer becomes what the dictionary has under its name, or undefined.
  void register_optional_buffer(const std::string& name, Tensor& tensor, const Tensor& model);
  /// Forgets this module's own parameters and buffers, so that others can be registered.
  void clear_registrations() { slots_.clear(); }

  /// Makes `child` a part of this module. A module has one parent at most.
  template <typename M>
  std::shared_ptr<M> register_module(const std::string& name, std::shared_ptr<M> child) {
    add_child({.name = name, .module = child});
    return child;
  }
  /// The same for one child under two names, so that files of a convolution + batch-norm layer look
  /// as if it were two layers: the child's "conv.weight" becomes conv_name + ".weight", and its
  /// "bn.weight" bn_name + ".weight".
  template <typename M>
  std::shared_ptr<M> register_conv_bn(const std::string& conv_name, const std::string& bn_name,
                                      std::shared_ptr<M> child) {
    add_child({.name = conv_name, .bn_name = bn_name, .module = child});
    return child;
  }
  /// The same for a child whose weights have been folded into another's and which is kept only to
  /// undo that: its parameters are listed as buffers, so nobody trains them.
  template <typename M>
  std::shared_ptr<M> register_folded(const std::string& name, std::shared_ptr<M> child) {
    add_child({.name = name, .module = child, .folded = true});
    return child;
  }
  /// Lets go of the child registered under `name`, which may be registered elsewhere then.
  void unregister_module(const std::string& name);

  /// What operator() does around forward(). Of use to a derived class that can be called with
  /// further arguments.
  template <typename F>
  Tensor call(const Tensor& x, F&& forward_function) {
    const LabelScope label(path());
    Tensor y = forward_function();
    CallObserver::notify(*this, x, y);
    return y;
  }

  // Hooks for one module; Module's functions of similar name recurse. The check_* are called for
  // every module before anything changes, and throw Error to refuse. on_deploy() is called for
  // children before their parents, on_undeploy() for parents before their children, so that a
  // parent finds its children folded in both, and may register others in their place.
  virtual void check_set_mode(Mode) const {}
  virtual void on_set_mode(Mode) {}
  virtual void check_deploy() const {}
  virtual void on_deploy() {}
  virtual void check_undeploy() const {}
  virtual void on_undeploy() {}
  virtual void on_set_recompute(const Recompute&) {}

 private:
  friend class MetaScope;

  struct Slot {
    std::string name;
    Tensor* tensor;
    bool is_parameter;
    const Tensor* model = nullptr;  // of an optional buffer
  };
  struct Child {
    std::string name;
    std::string bn_name = {};  // empty: an ordinary child
    std::shared_ptr<Module> module;
    bool folded = false;

    /// The parent's name for what the child calls `name`.
    std::string rename(const std::string& tensor_name) const;
  };
  void add_child(Child child);
  void add_slot(const std::string& name, Tensor& tensor, bool is_parameter);
  void check_name(const std::string& name) const;
  /// This module's and those below; without optional buffers that are undefined.
  std::vector<Slot> all_slots() const;
  std::vector<Slot> all_slots_even_undefined() const;
  NamedTensors named(bool parameters) const;
  void replace_tensors(const std::function<Tensor(const Tensor&)>& convert);
  void set_parameters_require_grad(bool requires_grad);

  std::vector<Slot> slots_;
  std::vector<Child> children_;
  Module* parent_ = nullptr;
  std::string name_;  // within the parent
  bool training_ = true;
};

}  // namespace attune
