#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "attune/core/protobuf_writer.h"
#include "attune/core/tensor.h"

namespace attune {

/// An attribute of an ONNX operator.
class OnnxAttribute {
 public:
  OnnxAttribute(const char* name, std::int64_t value);
  OnnxAttribute(const char* name, float value);
  OnnxAttribute(const char* name, const std::vector<std::int64_t>& values);

  const ProtobufWriter& message() const { return message_; }

 private:
  ProtobufWriter message_;
};

/// A model in the making: the messages of ONNX's schema (github.com/onnx/onnx, onnx/onnx.proto).
class OnnxGraph {
 public:
  /// `wanted`, or with a number behind it if that is taken.
  std::string unique_name(const std::string& wanted);

  /// Elements that belong to the model, stored once. `tensor` is float32, float64 or int64, on the
  /// CPU, and in the layout that the operators want. Returns `name`.
  std::string add_tensor(const std::string& name, const Tensor& tensor);
  /// Appends a call of an operator with one output. Operators stand in the order of the calls. An
  /// input without a name is left out. Returns `output`.
  std::string add_node(const char* op, const std::vector<std::string>& inputs,
                       const std::string& output, const std::vector<OnnxAttribute>& attributes);
  /// What goes in and comes out; the first axis is of any size.
  void add_input(const std::string& name, DType dtype, const std::vector<std::int64_t>& sizes);
  void add_output(const std::string& name, DType dtype, const std::vector<std::int64_t>& sizes);

  /// The bytes of the file.
  std::string model(const std::map<std::string, std::string>& metadata) const;

 private:
  ProtobufWriter graph_;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> stored_;  // tensors
};

}  // namespace attune
