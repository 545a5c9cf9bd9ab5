#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "attune/core/tensor.h"

// What a network does, written down while it does it:
//
//     TraceScope trace;
//     net(x);
//     for (const TracedOp& op : trace.ops()) ...
//
// Networks are C++ code; where one must be told to others (layers/onnx.h) it is run once, and the
// operations say what they were given. The autograd graph cannot: its edges carry no data, and it
// knows only what a gradient flows through.

namespace attune {

/// One call of an operation.
struct TracedOp {
  std::string name;            ///< "conv2d", as in Node::name()
  std::vector<Tensor> inputs;  ///< in the order of the function's arguments; undefined: left out
  Tensor output;
  /// The function's other arguments, such as "stride": {2, 2}; true is 1.
  std::map<std::string, std::vector<double>> options = {};
  std::string label = {};  ///< the layer, or empty; see LabelScope. Filled in by add().
};

/// Records what operations run on this thread within the scope, on any device. Keeps all their
/// tensors, so that no two of them share a place in memory. Scopes nest: the inner one records.
///
/// Only the operations that networks are made of in inference take part: convolutions (not
/// conv_bn_*: deploy() first), batch_norm_eval, linear, pooling, relu, relu6, add, concatenate,
/// pad, permute and reshape. What others compute appears as an input that no operation produced.
class TraceScope {
 public:
  TraceScope();
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  /// The innermost scope on this thread, or null.
  static TraceScope* current();
  /// Called by operations.
  void add(TracedOp op);

  const std::vector<TracedOp>& ops() const { return ops_; }

 private:
  TraceScope* outer_;
  std::vector<TracedOp> ops_;
};

/// A pair of extents as an option.
template <typename Extents>
std::vector<double> traced_numbers(const Extents& extents) {
  return {extents.begin(), extents.end()};
}

}  // namespace attune
