#include "attune/layers/onnx_graph.h"

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/version.h"

namespace attune {
namespace {

// The numbers of the fields that are used, by message, from onnx.proto.
namespace model_proto {
enum : std::uint32_t {
  ir_version = 1,
  producer_name = 2,
  producer_version = 3,
  graph = 7,
  opset_import = 8,
  metadata_props = 14
};
}
namespace operator_set_proto {
enum : std::uint32_t { version = 2 };
}
namespace string_string_proto {
enum : std::uint32_t { key = 1, value = 2 };
}
namespace graph_proto {
enum : std::uint32_t { node = 1, name = 2, initializer = 5, input = 11, output = 12 };
}
namespace node_proto {
enum : std::uint32_t { input = 1, output = 2, name = 3, op_type = 4, attribute = 5 };
}
namespace attribute_proto {
enum : std::uint32_t { name = 1, f = 2, i = 3, ints = 8, type = 20 };
enum Type : std::int64_t { float_type = 1, int_type = 2, ints_type = 7 };
}  // namespace attribute_proto
namespace tensor_proto {
enum : std::uint32_t { dims = 1, data_type = 2, name = 8, raw_data = 9 };
enum DataType : std::int64_t { float_data = 1, int64_data = 7, double_data = 11 };
}  // namespace tensor_proto
namespace value_info_proto {
enum : std::uint32_t { name = 1, type = 2 };
}
namespace type_proto {
enum : std::uint32_t { tensor_type = 1 };
}
namespace tensor_type_proto {
enum : std::uint32_t { elem_type = 1, shape = 2 };
}
namespace shape_proto {
enum : std::uint32_t { dim = 1 };
}
namespace dimension_proto {
enum : std::uint32_t { dim_value = 1, dim_param = 2 };
}

// Versions that every runtime of today takes: https://onnx.ai/onnx/repo-docs/Versioning.html
constexpr std::int64_t kIrVersion = 8;
constexpr std::int64_t kOperatorVersion = 13;

std::int64_t data_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return tensor_proto::float_data;
    case DType::float64:
      return tensor_proto::double_data;
    case DType::int64:
      return tensor_proto::int64_data;
    case DType::uint8:
      break;
  }
  throw Error(format_text("onnx: no model has elements of {}", to_string(dtype)));
}

ProtobufWriter value_info(const std::string& name, DType dtype,
                          const std::vector<std::int64_t>& sizes) {
  ProtobufWriter shape;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    ProtobufWriter dimension;
    if (axis == 0) {
      dimension.bytes(dimension_proto::dim_param, "batch");
    } else {
      dimension.integer(dimension_proto::dim_value, sizes[axis]);
    }
    shape.message(shape_proto::dim, dimension);
  }
  ProtobufWriter tensor_type, type, info;
  tensor_type.integer(tensor_type_proto::elem_type, data_type(dtype));
  tensor_type.message(tensor_type_proto::shape, shape);
  type.message(type_proto::tensor_type, tensor_type);
  info.bytes(value_info_proto::name, name);
  info.message(value_info_proto::type, type);
  return info;
}

}  // namespace

OnnxAttribute::OnnxAttribute(const char* name, std::int64_t value) {
  message_.bytes(attribute_proto::name, name);
  message_.integer(attribute_proto::i, value);
  message_.integer(attribute_proto::type, attribute_proto::int_type);
}

OnnxAttribute::OnnxAttribute(const char* name, float value) {
  message_.bytes(attribute_proto::name, name);
  message_.real(attribute_proto::f, value);
  message_.integer(attribute_proto::type, attribute_proto::float_type);
}

OnnxAttribute::OnnxAttribute(const char* name, const std::vector<std::int64_t>& values) {
  message_.bytes(attribute_proto::name, name);
  for (const std::int64_t value : values) message_.integer(attribute_proto::ints, value);
  message_.integer(attribute_proto::type, attribute_proto::ints_type);
}

std::string OnnxGraph::unique_name(const std::string& wanted) {
  std::string name = wanted;
  for (int number = 2; !names_.insert(name).second; ++number) {
    name = format_text("{}_{}", wanted, number);
  }
  return name;
}

std::string OnnxGraph::add_tensor(const std::string& name, const Tensor& tensor) {
  if (!stored_.insert(name).second) return name;
  names_.insert(name);
  ProtobufWriter message;
  for (const std::int64_t size : tensor.shape()) message.integer(tensor_proto::dims, size);
  message.integer(tensor_proto::data_type, data_type(tensor.dtype()));
  message.bytes(tensor_proto::name, name);
  // In the order of this machine, which is the format's, lowest byte first (core/safetensors.cpp
  // refuses to be compiled for any other).
  const Tensor elements = tensor.to(Device::cpu);
  message.bytes(tensor_proto::raw_data, {static_cast<const char*>(elements.storage().data()),
                                         static_cast<std::size_t>(elements.bytes())});
  graph_.message(graph_proto::initializer, message);
  return name;
}

std::string OnnxGraph::add_node(const char* op, const std::vector<std::string>& inputs,
                                const std::string& output,
                                const std::vector<OnnxAttribute>& attributes) {
  ProtobufWriter message;
  for (const std::string& input : inputs) message.bytes(node_proto::input, input);
  message.bytes(node_proto::output, output);
  message.bytes(node_proto::name, output);
  message.bytes(node_proto::op_type, op);
  for (const OnnxAttribute& attribute : attributes) {
    message.message(node_proto::attribute, attribute.message());
  }
  graph_.message(graph_proto::node, message);
  return output;
}

void OnnxGraph::add_input(const std::string& name, DType dtype,
                          const std::vector<std::int64_t>& sizes) {
  graph_.message(graph_proto::input, value_info(name, dtype, sizes));
}

void OnnxGraph::add_output(const std::string& name, DType dtype,
                           const std::vector<std::int64_t>& sizes) {
  graph_.message(graph_proto::output, value_info(name, dtype, sizes));
}

std::string OnnxGraph::model(const std::map<std::string, std::string>& metadata) const {
  ProtobufWriter graph = graph_;
  graph.bytes(graph_proto::name, "attune");
  ProtobufWriter operators;
  operators.integer(operator_set_proto::version, kOperatorVersion);
  ProtobufWriter model;
  model.integer(model_proto::ir_version, kIrVersion);
  model.bytes(model_proto::producer_name, "attune");
  model.bytes(model_proto::producer_version, version);
  model.message(model_proto::graph, graph);
  model.message(model_proto::opset_import, operators);
  for (const auto& [key, value] : metadata) {
    ProtobufWriter entry;
    entry.bytes(string_string_proto::key, key);
    entry.bytes(string_string_proto::value, value);
    model.message(model_proto::metadata_props, entry);
  }
  return model.bytes();
}

}  // namespace attune
