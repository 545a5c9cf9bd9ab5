#include "attune/core/autograd.h"

#include <algorithm>
#include <atomic>
#include <unordered_set>
#include <utility>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/profile.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

std::atomic<std::uint64_t> next_node_id{0};
thread_local bool recording = true;
thread_local std::string current_label;

// Turns recording on or off for a scope.
struct RecordingScope {
  explicit RecordingScope(bool on) : before(std::exchange(recording, on)) {}
  ~RecordingScope() { recording = before; }
  const bool before;
};

Tensor gradient_copy(const Tensor& grad) {
  Tensor copy = grad.clone();
  copy.storage().set_purpose(MemoryPurpose::gradient);
  return copy;
}

// y += x
void accumulate(Tensor& y, const Tensor& x) {
  visit_floating(y.dtype(), "backward", [&]<typename T>(T) {
    kernels::axpy(y.device(), y.mutable_data<T>(), T(1), x.data<T>(), y.count());
  });
}

}  // namespace

AutogradMeta::AutogradMeta(const Tensor& tensor)
    : shape(tensor.shape()), dtype(tensor.dtype()), device(tensor.device()) {}

// ---- Saving ----

// A recipe stands for the output as its node left it. Who sees another version keeps that.
SavedValue value_to_save(const Tensor& tensor) {
  const auto& meta = tensor.autograd_meta();
  if (meta && meta->producer && meta->producer->output_recipe_.defined() &&
      meta->producer->output_version_ == tensor.storage().version()) {
    return meta->producer->value(meta->producer->output_recipe_);
  }
  return SavedTensor(tensor);
}

Node::Saved Node::save(const Tensor& tensor) {
  return tensor.defined() ? save(value_to_save(tensor)) : Saved();
}

Node::Saved Node::save(SavedValue value) {
  Saved saved;
  saved.index_ = static_cast<int>(saves_.size());
  saves_.push_back(std::move(value));
  return saved;
}

// The rounded copy is offered as its producer's recipe, and so shared by all who save the tensor
// from now on; unless its producer has another recipe, or keeps the elements anyway.
Node::Saved Node::save_to_round(const Tensor& tensor) {
  const auto& meta = tensor.autograd_meta();
  if (Bfloat16Saves::on() && tensor.dtype() == DType::float32 && meta && meta->producer) {
    Node& producer = *meta->producer;
    if (!producer.output_recipe_.defined() && !producer.keeps(tensor.storage())) {
      producer.offer_recipe(tensor, rounded_to_bfloat16(tensor));
    }
  }
  return save(tensor);
}

Node::Saved Node::save_relu_output(Tensor& output) {
  output.autograd_meta()->relu_output = true;
  return save_to_round(output);
}

void Node::offer_recipe(const Tensor& output, Recipe recipe) {
  output_recipe_ = save(std::move(recipe));
  output_version_ = output.storage().version();
}

// Recipes run as forward did. With recording off, operations would keep what they make of
// parameters for the next inference. There is nothing to record: ingredients have no graph.
Tensor Node::restore(Saved saved) const {
  const RecordingScope as_in_forward(true);
  return saved.defined() ? attune::restore(value(saved), name_) : Tensor();
}

// ---- Recording ----

bool grad_enabled() { return recording; }

NoGradGuard::NoGradGuard() : before_(recording) { recording = false; }
NoGradGuard::~NoGradGuard() { recording = before_; }

LabelScope::LabelScope(std::string label) : before_(std::move(current_label)) {
  current_label = std::move(label);
}
LabelScope::~LabelScope() { current_label = std::move(before_); }
const std::string& LabelScope::current() { return current_label; }

Node::Node(const char* name) : name_(name), label_(current_label), id_(next_node_id++) {}

// Letting a long chain go must not recurse once per node: take over the inputs of every producer
// that would die with its last pointer.
Node::~Node() {
  auto pending = std::move(inputs_);
  while (!pending.empty()) {
    const std::shared_ptr<AutogradMeta> meta = std::move(pending.back());
    pending.pop_back();
    if (!meta || meta.use_count() > 1 || !meta->producer || meta->producer.use_count() > 1) {
      continue;
    }
    auto& further = meta->producer->inputs_;
    std::move(further.begin(), further.end(), std::back_inserter(pending));
    further.clear();
  }
}

bool any_requires_grad(const std::vector<const Tensor*>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const Tensor* tensor) { return tensor->requires_grad(); });
}

void connect(const std::shared_ptr<Node>& node, Tensor& output,
             const std::vector<const Tensor*>& inputs) {
  for (const Tensor* input : inputs) {
    node->inputs_.push_back(input->requires_grad() ? input->autograd_meta() : nullptr);
  }
  node->output_shape_ = output.shape();
  auto meta = std::make_shared<AutogradMeta>(output);
  meta->requires_grad = true;
  meta->producer = node;
  output.set_autograd_meta(std::move(meta));
}

// ---- Gradients of inputs ----

GradDestination Node::destination(std::size_t i, bool masked) {
  AutogradMeta& input = *inputs_[i];
  input.grad_is_masked = masked;
  if (!input.grad.defined()) {
    input.grad = Tensor::empty(input.shape, input.dtype, input.device, MemoryPurpose::gradient);
    return {input.grad, false};
  }
  // Somebody else holds the same elements (the other branch of an addition, or the user).
  if (!owns(input.grad)) input.grad = gradient_copy(input.grad);
  return {input.grad, true};
}

void Node::add_grad(std::size_t i, Tensor grad, bool masked) {
  AutogradMeta& input = *inputs_[i];
  if (grad.shape() != input.shape || grad.dtype() != input.dtype) {
    throw Error(format_text("backward: '{}' made a gradient {} for input {}, which is {} {}", name_,
                            describe(grad), i, to_string(input.dtype), to_string(input.shape)));
  }
  if (!input.grad.defined()) {
    // A gradient the user will see, and may change (clipping, say), is that tensor's alone.
    const bool visible = !input.producer || input.retain_grad;
    if (visible && !owns(grad)) grad = gradient_copy(grad);
    // What is still shared may be the user's seed, and a parameter.
    if (owns(grad)) grad.storage().set_purpose(MemoryPurpose::gradient);
    input.grad = std::move(grad);
    input.grad_is_masked = masked;
    return;
  }
  input.grad_is_masked = input.grad_is_masked && masked;
  if (!owns(input.grad)) input.grad = gradient_copy(input.grad);
  accumulate(input.grad, grad);
}

Tensor Node::through_relu(Tensor grad, Saved relu_output) const {
  if (!relu_output.defined() || grad_is_masked_) return grad;
  const Tensor output = restore(relu_output);
  Tensor masked = owns(grad) ? grad
                             : Tensor::empty(grad.shape(), grad.dtype(), grad.device(),
                                             MemoryPurpose::gradient);
  visit_floating(grad.dtype(), "relu", [&]<typename T>(T) {
    kernels::relu_backward(grad.device(), masked.mutable_data<T>(), grad.data<T>(),
                           output.data<T>(), grad.count());
  });
  return masked;
}

bool Node::keeps(const Storage& storage) const {
  return std::any_of(saves_.begin(), saves_.end(), [&](const SavedValue& saved) {
    const std::vector<const Storage*> kept = storages_of(saved);
    return std::find(kept.begin(), kept.end(), &storage) != kept.end();
  });
}

void Node::release() {
  output_recipe_ = {};
  saves_.clear();
  inputs_.clear();
  released_ = true;
}

// ---- Backward ----

/// One walk over the graph, from a root to its leaves.
class BackwardPass {
 public:
  static void run(const std::shared_ptr<AutogradMeta>& root, const Tensor& seed) {
    NoGradGuard no_grad;
    if (!root->producer) return add_to_leaf(*root, seed);
    const auto found = nodes_below(root);
    // Whatever a backward that failed has left there is no part of this one.
    for (const auto& meta : found) meta->grad = {};
    root->grad = root->retain_grad ? seed.clone() : seed.detach();
    root->grad_is_masked = false;
    for (const auto& meta : found) {
      Node& node = *meta->producer;
      const OpTimer timer(node);
      if (meta->grad.defined()) {
        node.grad_is_masked_ = meta->grad_is_masked;
        Tensor grad = meta->grad;
        if (!meta->retain_grad) meta->grad = {};  // now `grad` is the only owner
        node.backward(std::move(grad));
      }
      node.release();
    }
  }

 private:
  // Metadata of every computed tensor the root depends on. Producers are numbered as they are
  // recorded, so descending numbers put every node before the producers of its inputs.
  static std::vector<std::shared_ptr<AutogradMeta>> nodes_below(
      const std::shared_ptr<AutogradMeta>& root) {
    std::vector<std::shared_ptr<AutogradMeta>> found;
    std::vector<std::shared_ptr<AutogradMeta>> pending{root};
    std::unordered_set<const AutogradMeta*> seen{root.get()};
    while (!pending.empty()) {
      const std::shared_ptr<AutogradMeta> meta = std::move(pending.back());
      pending.pop_back();
      if (!meta->producer) continue;
      if (meta->producer->released_) {
        throw Error(format_text(
            "backward: the graph below '{}' has been used by an earlier backward, which released "
            "what it had saved; run the forward pass again",
            meta->producer->name()));
      }
      for (const auto& input : meta->producer->inputs()) {
        if (input && seen.insert(input.get()).second) pending.push_back(input);
      }
      found.push_back(meta);
    }
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a->producer->id() > b->producer->id(); });
    return found;
  }

  static void add_to_leaf(AutogradMeta& leaf, const Tensor& seed) {
    if (!leaf.grad.defined()) {
      leaf.grad = seed.clone();
      leaf.grad.storage().set_purpose(MemoryPurpose::gradient);
      return;
    }
    if (!Node::owns(leaf.grad)) leaf.grad = leaf.grad.clone();
    accumulate(leaf.grad, seed);
  }
};

void Tensor::backward() const {
  if (defined() && count() != 1) {
    throw Error(format_text("backward: {} is not a single element; pass a seed of its shape",
                            describe(*this)));
  }
  backward(full(shape_, 1, dtype_, device(), MemoryPurpose::gradient));
}

void Tensor::backward(const Tensor& seed) const {
  if (!requires_grad()) {
    throw Error("backward: nothing that this tensor was computed from requires a gradient");
  }
  check_compatible("backward", *this, seed);
  if (seed.shape() != shape_) {
    throw Error(format_text("backward: seed {} does not have the tensor's shape {}",
                            to_string(seed.shape()), to_string(shape_)));
  }
  profile_saved_bytes(*this);
  BackwardPass::run(meta_, seed);
}

}  // namespace attune
