#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/saved_tensor.h"
#include "attune/core/tensor.h"

// Reverse-mode differentiation on a tape.
//
// An operation that must be differentiated records a Node: a struct that names what it saved and
// knows how to turn the gradient of its output into gradients of its inputs. Two rules keep memory
// honest:
//
//   Edges carry no data. A node points at its inputs' AutogradMeta (producer, gradient), never at
//   their storage, so that being someone's input keeps no elements alive.
//   Saves carry no graph. Node::save keeps storage and shape, never metadata, so that saving cannot
//   form a cycle. Every byte kept for backward passes through it.
//
// Backward is not itself recorded: there are no second derivatives.

namespace attune {

class Node;

/// What differentiation knows about a tensor. Copies of a handle share it.
struct AutogradMeta {
  explicit AutogradMeta(const Tensor& tensor);

  const Shape shape;
  const DType dtype;
  const Device device;
  bool requires_grad = false;
  bool retain_grad = false;
  /// The tensor was a parameter and has been replaced.
  bool retired = false;
  /// The node that computed the tensor; null for a leaf.
  std::shared_ptr<Node> producer;
  /// Of a leaf: the accumulated gradient. Otherwise it fills during backward and is then dropped.
  Tensor grad;
  /// The tensor is the output of a ReLU: its gradient counts only where its elements are > 0. A
  /// consumer that reads the elements anyway may mask its contribution itself (in a convolution's
  /// epilogue), which saves the producer a pass.
  bool relu_output = false;
  /// `grad` has been masked already.
  bool grad_is_masked = false;
};

/// Where a node writes an input's gradient, which has that input's shape.
struct GradDestination {
  Tensor grad;
  /// `grad` holds the contributions of other nodes: add to them. Otherwise overwrite.
  bool accumulate = false;
};

/// One recorded operation. Derive a struct that names its saves, and override backward().
class Node {
 public:
  /// Names one saved tensor within its node.
  class Saved {
   public:
    bool defined() const { return index_ >= 0; }

   private:
    friend class Node;
    int index_ = -1;
  };

  /// `name` is a string literal such as "conv2d".
  explicit Node(const char* name);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Adds this operation's contribution to the gradient of each input that needs one. `grad`, the
  /// gradient of the output, is handed over: it may be overwritten if owns(grad).
  virtual void backward(Tensor grad) = 0;

  /// The only way to keep something for backward: the tensor, or the recipe that its producer
  /// offers. An undefined tensor is kept as such.
  Saved save(const Tensor& tensor);
  Saved save(SavedValue value);
  /// The same for a convolution's input or a ReLU's output, which Bfloat16Saves may have rounded.
  Saved save_to_round(const Tensor& tensor);
  /// Keeps this node's output, which ends in a ReLU, and says so in its metadata.
  Saved save_relu_output(Tensor& output);
  /// From now on, who would save this node's output saves `recipe`, which gives the same bits. The
  /// recipe should need little but what the node saves anyway.
  void offer_recipe(const Tensor& output, Recipe recipe);
  /// What was saved: checked to be unchanged, or rebuilt.
  Tensor restore(Saved saved) const;

  /// Whether input `i` needs a gradient. What serves only others need not be saved or computed.
  bool needs(std::size_t i) const { return inputs_[i] != nullptr; }

  const char* name() const { return name_; }
  /// Name of the layer that recorded this node, or empty.
  const std::string& label() const { return label_; }
  std::uint64_t id() const { return id_; }
  const std::vector<SavedValue>& saves() const { return saves_; }
  const std::vector<std::shared_ptr<AutogradMeta>>& inputs() const { return inputs_; }
  const Shape& output_shape() const { return output_shape_; }

 protected:
  /// The buffer for input `i`'s gradient, made if this is the first contribution. Fill it, and let
  /// it go, before asking for the next: two inputs may be one tensor. `masked` promises that what
  /// the node leaves there, earlier contributions included, is zero wherever the input (the output
  /// of a ReLU) is not positive.
  GradDestination destination(std::size_t i, bool masked = false);
  /// The same, or nothing if the input needs no gradient.
  GradDestination destination_if_needed(std::size_t i) {
    return needs(i) ? destination(i) : GradDestination{};
  }
  /// Adds a gradient already computed; the first contribution is adopted without a copy.
  void add_grad(std::size_t i, Tensor grad, bool masked = false);
  /// Input `i` is the output of a ReLU, so a masked contribution is welcome. (A gradient that the
  /// user will look at must be the true one.)
  bool input_is_relu_output(std::size_t i) const {
    return needs(i) && inputs_[i]->relu_output && !inputs_[i]->retain_grad;
  }
  /// The gradient in front of this node's own ReLU, from backward()'s `grad` and the saved output
  /// (if not saved: no ReLU, `grad` itself). Costs nothing if all consumers masked their part.
  Tensor through_relu(Tensor grad, Saved relu_output) const;
  /// Nobody else sees this gradient: it may be overwritten.
  static bool owns(const Tensor& grad) { return grad.shared_storage().use_count() == 1; }

 private:
  friend class BackwardPass;
  friend void connect(const std::shared_ptr<Node>& node, Tensor& output,
                      const std::vector<const Tensor*>& inputs);
  friend SavedValue value_to_save(const Tensor& tensor);
  const SavedValue& value(Saved saved) const {
    return saves_[static_cast<std::size_t>(saved.index_)];
  }
  bool keeps(const Storage& storage) const;
  void release();

  const char* name_;
  std::string label_;
  std::uint64_t id_;
  Shape output_shape_;
  std::vector<std::shared_ptr<AutogradMeta>> inputs_;  // null: needs no gradient
  std::vector<SavedValue> saves_;
  Saved output_recipe_;
  std::uint64_t output_version_ = 0;  // of the output when the recipe was offered
  bool grad_is_masked_ = false;
  bool released_ = false;
};

/// What Node::save() keeps of a tensor; for an ingredient of a recipe.
SavedValue value_to_save(const Tensor& tensor);

/// Whether operations are being recorded on this thread.
bool grad_enabled();

/// Turns recording off on this thread for a scope.
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool before_;
};

/// Nodes recorded on this thread within the scope carry `label`.
class LabelScope {
 public:
  explicit LabelScope(std::string label);
  ~LabelScope();
  LabelScope(const LabelScope&) = delete;
  LabelScope& operator=(const LabelScope&) = delete;

  /// The innermost label on this thread, or empty.
  static const std::string& current();

 private:
  std::string before_;
};

/// Whether any of the defined tensors requires a gradient.
bool any_requires_grad(const std::vector<const Tensor*>& tensors);

/// Hangs `node` between `inputs` and `output`. Operations call record() instead.
void connect(const std::shared_ptr<Node>& node, Tensor& output,
             const std::vector<const Tensor*>& inputs);

/// Records that `output` was computed from `inputs` by a node constructed from `arguments`; see
/// record().
template <typename NodeType, typename... Arguments>
std::shared_ptr<NodeType> record_as(Tensor& output, const std::vector<const Tensor*>& inputs,
                                    Arguments&&... arguments) {
  if (!grad_enabled() || !any_requires_grad(inputs)) return nullptr;
  auto node = std::make_shared<NodeType>(std::forward<Arguments>(arguments)...);
  connect(node, output, inputs);
  return node;
}

/// Records that `output` was computed from `inputs`, and returns the node, so that it can save what
/// its backward needs; null if gradients are off or no input needs one:
///
///     if (auto node = record<ExpBackward>(y, x)) node->y = node->save(y);
///
/// Undefined inputs are allowed and need no gradient. record_as() is for nodes whose constructor
/// takes arguments, and for lists of inputs.
template <typename NodeType, typename... Inputs>
std::shared_ptr<NodeType> record(Tensor& output, const Inputs&... inputs) {
  return record_as<NodeType>(output, {&inputs...});
}

}  // namespace attune
