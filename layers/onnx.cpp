#include "attune/layers/onnx.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/atomic_file.h"
#include "attune/core/autograd.h"
#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/pytorch_layout.h"
#include "attune/core/trace.h"
#include "attune/layers/conv_bn.h"
#include "attune/layers/meta_scope.h"
#include "attune/layers/onnx_graph.h"

namespace attune {
namespace {

using Axes = std::vector<std::size_t>;
using Integers = std::vector<std::int64_t>;

/// Where ONNX has a tensor: axis i there is axis axes[i] here.
struct Value {
  std::string name;
  Axes axes;
};

/// The order of axes in which operators take a tensor: images channels first, [N, C, H, W].
Axes standard_axes(int rank) {
  if (rank == 4) return {0, 3, 1, 2};
  Axes axes;
  for (int axis = 0; axis < rank; ++axis) axes.push_back(static_cast<std::size_t>(axis));
  return axes;
}

/// The order in which it stands here.
Axes own_axes(int rank) {
  Axes axes(static_cast<std::size_t>(rank));
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = i;
  return axes;
}

std::size_t position(const Axes& axes, std::size_t axis) {
  return static_cast<std::size_t>(std::find(axes.begin(), axes.end(), axis) - axes.begin());
}

Integers integers(const std::vector<double>& numbers) { return {numbers.begin(), numbers.end()}; }

template <typename T>
std::vector<T> joined(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Integers sizes_along(const Shape& shape, const Axes& axes) {
  Integers sizes;
  for (const std::size_t axis : axes) sizes.push_back(shape.begin()[axis]);
  return sizes;
}

/// Translates a trace, operation by operation.
class Translator {
 public:
  /// `handles` are the parameters and buffers as the trace has them, `values` what they hold.
  Translator(const NamedTensors& handles, const NamedTensors& values) {
    for (std::size_t i = 0; i < handles.size(); ++i) {
      weights_[handles[i].second.shared_storage().get()] = values[i];
    }
  }

  void input(const Tensor& x) {
    const Axes axes = standard_axes(x.rank());
    const std::string name = graph_.unique_name("images");
    graph_.add_input(name, x.dtype(), sizes_along(x.shape(), axes));
    set(x, {name, axes});
  }

  void output(const Tensor& y) {
    if (!values_.contains(key(y))) {
      throw Error("write_onnx: the output is what an operation without translation has computed");
    }
    const Axes axes = standard_axes(y.rank());
    const std::string name =
        graph_.add_node("Identity", {get(y, axes)}, graph_.unique_name("logits"), {});
    graph_.add_output(name, y.dtype(), sizes_along(y.shape(), axes));
  }

  void translate(const TracedOp& op) {
    op_ = &op;
    const auto translation = translations().find(op.name);
    if (translation == translations().end()) fail("has no translation");
    (this->*translation->second)();
  }

  const OnnxGraph& graph() const { return graph_; }

 private:
  using Translation = void (Translator::*)();
  static const std::map<std::string, Translation>& translations();

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(format_text("write_onnx: {}{}{} {}", op_->label, op_->label.empty() ? "" : ": ",
                            op_->name, problem));
  }

  // ---- Tensors ----

  // A view has the storage of another tensor, so the shape belongs to what tells tensors apart.
  using Key = std::pair<const Storage*, std::string>;
  static Key key(const Tensor& tensor) {
    return {tensor.shared_storage().get(), to_string(tensor.shape())};
  }

  void set(const Tensor& tensor, Value value) { values_[key(tensor)] = std::move(value); }

  /// The name of a tensor whose axes are in the given order.
  std::string get(const Tensor& tensor, const Axes& axes) {
    const auto found = values_.find(key(tensor));
    if (found == values_.end()) {
      fail(format_text("reads what an operation without translation has computed: {}",
                       describe(tensor)));
    }
    const Value& value = found->second;
    if (value.axes == axes) return value.name;
    Integers order;
    for (const std::size_t axis : axes) {
      order.push_back(static_cast<std::int64_t>(position(value.axes, axis)));
    }
    return graph_.add_node("Transpose", {value.name},
                           graph_.unique_name(value.name + ".transposed"), {{"perm", order}});
  }

  const Tensor& argument(std::size_t i) const { return op_->inputs[i]; }
  std::string input(std::size_t i) { return get(argument(i), standard_axes(argument(i).rank())); }

  /// A parameter or buffer, under its own name, in PyTorch's layout; "" if it is left out.
  std::string weight(std::size_t i) {
    if (!argument(i).defined()) return "";
    const auto found = weights_.find(argument(i).shared_storage().get());
    if (found == weights_.end()) fail("computes its own weights");
    return graph_.add_tensor(found->second.first, to_pytorch_layout(found->second.second));
  }

  std::string constant(const std::string& name, double value) {
    return graph_.add_tensor(name, Tensor::scalar(value, op_->output.dtype()));
  }

  const std::vector<double>& option(const char* name) const { return op_->options.at(name); }

  // ---- Operators ----

  /// Adds an operator on the way to the output of this operation.
  std::string node(const char* op, const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttribute>& attributes = {}) {
    const std::string base = op_->label.empty() ? "" : op_->label + ".";
    return graph_.add_node(op, inputs, graph_.unique_name(base + op), attributes);
  }

  /// What the operation has computed is `name`, its axes in the standard order.
  void finish(const std::string& name) {
    set(op_->output, {name, standard_axes(op_->output.rank())});
  }

  /// The same, once residual and rectifier are done.
  void finish(std::string name, std::size_t residual) {
    if (argument(residual).defined()) name = node("Add", {name, input(residual)});
    if (option("relu")[0] != 0) name = node("Relu", {name});
    finish(name);
  }

  static OnnxAttribute pads(const std::vector<double>& padding) {
    return {"pads", integers(joined(padding, padding))};  // begins, then ends
  }

  void convolution(bool transposed) {
    const Shape& filter = argument(1).shape();
    std::vector<OnnxAttribute> attributes{
        {"kernel_shape", Integers{filter[1], filter[2]}},
        {"strides", integers(option("stride"))},
        {"dilations", integers(option("dilation"))},
        pads(option("padding")),
        {"group", static_cast<std::int64_t>(option("groups")[0])}};
    if (transposed) attributes.emplace_back("output_padding", integers(option("output_padding")));
    std::vector<std::string> inputs{input(0), weight(1)};
    if (argument(2).defined()) inputs.push_back(weight(2));
    finish(node(transposed ? "ConvTranspose" : "Conv", inputs, attributes), 3);
  }
  void conv2d() { convolution(false); }
  void conv_transpose2d() { convolution(true); }

  void batch_norm() {
    if (argument(0).rank() != 2 && argument(0).rank() != 4) fail("is only known for images");
    if (!argument(1).defined() || !argument(2).defined()) fail("needs gamma and beta");
    finish(node("BatchNormalization", {input(0), weight(1), weight(2), weight(3), weight(4)},
                {{"epsilon", static_cast<float>(option("eps")[0])}}),
           5);
  }

  void linear() {
    std::vector<std::string> inputs{input(0), weight(1)};
    if (argument(2).defined()) inputs.push_back(weight(2));
    finish(node("Gemm", inputs, {{"transB", std::int64_t{1}}}));
  }

  std::vector<OnnxAttribute> window() const {
    return {{"kernel_shape", integers(option("window"))},
            {"strides", integers(option("stride"))},
            pads(option("padding"))};
  }
  void max_pool() { finish(node("MaxPool", {input(0)}, window())); }
  void avg_pool() {
    finish(node("AveragePool", {input(0)},
                joined(window(), {{"count_include_pad", std::int64_t{1}}})));
  }
  void global_avg_pool() {
    finish(node("Flatten", {node("GlobalAveragePool", {input(0)})}, {{"axis", std::int64_t{1}}}));
  }

  void relu() { finish(node("Relu", {input(0)})); }
  void relu6() {
    const std::string zero = constant("zero", 0), six = constant("six", 6);
    finish(node("Clip", {input(0), zero, six}));
  }

  void add() {
    if (argument(0).shape() != argument(1).shape()) fail("of tensors of different shape");
    finish(node("Add", {input(0), input(1)}));
  }

  void concatenate() {
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < op_->inputs.size(); ++i) inputs.push_back(input(i));
    const auto axis =
        position(standard_axes(op_->output.rank()), static_cast<std::size_t>(option("axis")[0]));
    finish(node("Concat", inputs, {{"axis", static_cast<std::int64_t>(axis)}}));
  }

  void pad() {
    Integers amounts;
    for (const char* const side : {"before", "after"}) {
      for (const std::size_t axis : standard_axes(op_->output.rank())) {
        amounts.push_back(static_cast<std::int64_t>(option(side)[axis]));
      }
    }
    const std::string name = graph_.unique_name(op_->label + ".padding");
    const auto count = static_cast<std::int64_t>(amounts.size());
    graph_.add_tensor(name, Tensor::from(amounts, {count}));
    const std::string value =
        graph_.add_tensor(graph_.unique_name(op_->label + ".value"),
                          Tensor::scalar(option("value")[0], op_->output.dtype()));
    finish(node("Pad", {input(0), name, value}));
  }

  // Nothing moves: ONNX's tensor is the same, and its axes are known by other numbers here.
  void permute() {
    const Axes order(option("axes").begin(), option("axes").end());
    Value value{input(0), standard_axes(argument(0).rank())};
    for (std::size_t& axis : value.axes) axis = position(order, axis);
    set(op_->output, std::move(value));
  }

  // The only reshape that serves batches of any size without more ado.
  void reshape() {
    const Tensor& x = argument(0);
    if (op_->output.rank() != 2 || x.rank() < 2 || op_->output.size(0) != x.size(0)) {
      fail(format_text("of {} to {}: only flattening is translated", to_string(x.shape()),
                       to_string(op_->output.shape())));
    }
    finish(node("Flatten", {get(x, own_axes(x.rank()))}, {{"axis", std::int64_t{1}}}));
  }

  OnnxGraph graph_;
  std::map<Key, Value> values_;
  std::map<const Storage*, std::pair<std::string, Tensor>> weights_;
  const TracedOp* op_ = nullptr;  // being translated
};

const std::map<std::string, Translator::Translation>& Translator::translations() {
  static const std::map<std::string, Translation> all{
      {"add", &Translator::add},
      {"avg_pool2d", &Translator::avg_pool},
      {"batch_norm_eval", &Translator::batch_norm},
      {"concatenate", &Translator::concatenate},
      {"conv2d", &Translator::conv2d},
      {"conv_transpose2d", &Translator::conv_transpose2d},
      {"global_avg_pool", &Translator::global_avg_pool},
      {"linear", &Translator::linear},
      {"max_pool2d", &Translator::max_pool},
      {"pad", &Translator::pad},
      {"permute", &Translator::permute},
      {"relu", &Translator::relu},
      {"relu6", &Translator::relu6},
      {"reshape", &Translator::reshape},
  };
  return all;
}

void check_deployed(const Module& module) {
  module.for_each_module([](const std::string& name, const Module& part) {
    const auto* const block = dynamic_cast<const ConvBN*>(&part);
    if (block != nullptr && !block->deployed()) {
      throw Error(format_text("write_onnx: {} is not deployed; call deploy() before", name));
    }
  });
}

}  // namespace

void write_onnx(Module& module, const Shape& input, const std::filesystem::path& path,
                const OnnxOptions& options) {
  check_deployed(module);
  const NamedTensors values = module.state_dict();
  const DType dtype =
      module.parameters().empty() ? DType::float32 : module.parameters().front().dtype();
  NamedTensors handles;
  Tensor x, y;
  std::vector<TracedOp> ops;
  {
    const MetaScope meta(module);
    const NoGradGuard no_grad;
    const TraceScope trace;
    handles = module.state_dict();
    x = Tensor::empty(input, dtype, Device::meta);
    y = module(x);
    ops = trace.ops();
  }
  Translator translator(handles, values);
  translator.input(x);
  for (const TracedOp& op : ops) translator.translate(op);
  translator.output(y);
  const std::string model = translator.graph().model(options.metadata);
  // Protocol Buffers' limit.
  if (model.size() > std::numeric_limits<std::int32_t>::max()) {
    throw Error(format_text("write_onnx: {} would have {} bytes, more than a model may have",
                            path.string(), model.size()));
  }
  AtomicFile file(path);
  file.write(model.data(), model.size());
  file.commit();
}

}  // namespace attune
