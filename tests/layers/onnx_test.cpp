// ONNX models: what stands in the file. That runtimes compute the network's function from it is
// checked by tests/golden/check_onnx.py.

#include "attune/layers/onnx.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "attune/core/ops/ops.h"
#include "attune/core/pytorch_layout.h"
#include "attune/layers/models/densenet.h"
#include "attune/layers/models/mobilenet.h"
#include "attune/layers/models/repvgg.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/models/vgg.h"
#include "tests/data/temporary_directory.h"
#include "tests/device.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;
using namespace attune::test;

namespace {

/// The fields of a message in Protocol Buffers' wire format, in order.
class Message {
 public:
  explicit Message(const std::string& bytes) {
    std::size_t at = 0;
    const auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes.at(at++));
        value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.size()) {
      const std::uint64_t tag = varint();
      if ((tag & 7U) == 0) {
        integers_[tag >> 3].push_back(static_cast<std::int64_t>(varint()));
        continue;
      }
      const std::size_t length = (tag & 7U) == 5 ? 4 : varint();
      REQUIRE(length <= bytes.size() - at);
      texts_[tag >> 3].push_back(bytes.substr(at, length));
      at += length;
    }
  }

  std::vector<std::int64_t> integers(int field) const { return at_or_none(integers_, field); }
  std::vector<std::string> texts(int field) const { return at_or_none(texts_, field); }
  std::string text(int field) const { return texts(field).at(0); }
  std::int64_t integer(int field) const { return integers(field).at(0); }
  Message message(int field) const { return Message(text(field)); }
  std::vector<Message> messages(int field) const {
    std::vector<Message> all;
    for (const std::string& bytes : texts(field)) all.emplace_back(bytes);
    return all;
  }

 private:
  template <typename T>
  static std::vector<T> at_or_none(const std::map<std::uint64_t, std::vector<T>>& fields,
                                   int field) {
    const auto found = fields.find(static_cast<std::uint64_t>(field));
    return found == fields.end() ? std::vector<T>() : found->second;
  }

  std::map<std::uint64_t, std::vector<std::int64_t>> integers_;
  std::map<std::uint64_t, std::vector<std::string>> texts_;
};

struct Model {
  explicit Model(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const Message model({std::istreambuf_iterator<char>(file), {}});
    CHECK(model.integer(1) == 8);
    CHECK(model.message(8).integer(2) == 13);
    for (const Message& entry : model.messages(14)) metadata[entry.text(1)] = entry.text(2);
    const Message graph = model.message(7);
    nodes = graph.messages(1);
    for (const Message& tensor : graph.messages(5)) tensors.emplace(tensor.text(8), tensor);
    input = graph.message(11).text(1);
    output = graph.message(12).text(1);
  }

  std::vector<std::string> operators() const {
    std::vector<std::string> types;
    for (const Message& node : nodes) types.push_back(node.text(4));
    return types;
  }

  /// Each name is given once, before it is used.
  void check_names() const {
    std::set<std::string> known{input};
    for (const auto& [name, tensor] : tensors) known.insert(name);
    for (const Message& node : nodes) {
      for (const std::string& name : node.texts(1)) {
        INFO(node.text(4) << " reads " << name);
        CHECK(known.contains(name));
      }
      INFO(node.text(2));
      CHECK(known.insert(node.text(2)).second);
    }
    CHECK(nodes.back().text(2) == output);
  }

  std::vector<Message> nodes;
  std::map<std::string, Message> tensors;
  std::map<std::string, std::string> metadata;
  std::string input, output;
};

/// A list of integers among the attributes of a node.
std::vector<std::int64_t> attribute(const Message& node, const std::string& name) {
  for (const Message& candidate : node.messages(5)) {
    if (candidate.text(1) == name) return candidate.integers(8);
  }
  return {};
}

Model written(Module& net, const Shape& input, const OnnxOptions& options = {}) {
  const TemporaryDirectory directory;
  write_onnx(net, input, directory.path() / "model.onnx", options);
  return Model(directory.path() / "model.onnx");
}

std::shared_ptr<ResNet> small_resnet() {
  Generator generator{1, 0};
  auto net = std::make_shared<ResNet>(ResNetOptions{.depths = {1, 1},
                                                    .width = 4,
                                                    .stem = Stem::cifar,
                                                    .shortcut = ResNetShortcut::pad,
                                                    .classes = 3},
                                      generator);
  net->deploy();
  return net;
}

}  // namespace

TEST_CASE("a residual network becomes ONNX's operators, in order", "[onnx]") {
  const auto net = small_resnet();
  const Model model = written(*net, {1, 8, 8, 3}, {.metadata = {{"attune.net", "small"}}});
  model.check_names();
  CHECK(model.input == "images");
  CHECK(model.output == "logits");
  CHECK(model.metadata == std::map<std::string, std::string>{{"attune.net", "small"}});
  CHECK(model.operators() ==
        std::vector<std::string>{"Conv", "Relu",                         // stem
                                 "Conv", "Relu", "Conv", "Add", "Relu",  // layer1.0
                                 "Conv", "Relu", "AveragePool",
                                 "Pad",                  // layer2.0: its shortcut is padded
                                 "Conv", "Add", "Relu",  //
                                 "GlobalAveragePool", "Flatten", "Gemm", "Identity"});
  const Message& halving = model.nodes[7];
  CHECK(halving.texts(1) == std::vector<std::string>{model.nodes[6].text(2),
                                                     "layer2.0.conv1.weight",
                                                     "layer2.0.conv1.bias"});
  CHECK(attribute(halving, "kernel_shape") == std::vector<std::int64_t>{3, 3});
  CHECK(attribute(halving, "strides") == std::vector<std::int64_t>{2, 2});
  CHECK(attribute(halving, "pads") == std::vector<std::int64_t>{1, 1, 1, 1});
  CHECK(attribute(halving, "dilations") == std::vector<std::int64_t>{1, 1});

  // Two channels before and two behind, in the second axis.
  const Message& amounts = model.tensors.at(model.nodes[10].texts(1)[1]);
  std::vector<std::int64_t> padding(8);
  REQUIRE(amounts.text(9).size() == 64);
  std::memcpy(padding.data(), amounts.text(9).data(), 64);
  CHECK(padding == std::vector<std::int64_t>{0, 2, 0, 0, 0, 2, 0, 0});
}

TEST_CASE("the weights in a model are the network's, in PyTorch's layout", "[onnx]") {
  const auto net = small_resnet();
  const Model model = written(*net, {1, 8, 8, 3});
  std::size_t found = 0;
  for (const auto& [name, own] : net->state_dict()) {
    const auto stored = model.tensors.find(name);
    if (stored == model.tensors.end()) {
      CHECK(name.find(".folded_bn.") != std::string::npos);
      continue;
    }
    ++found;
    const Tensor tensor = to_pytorch_layout(own);
    CHECK(stored->second.integers(1) ==
          std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end()));
    CHECK(stored->second.integer(2) == 1);  // FLOAT
    const std::string bytes = stored->second.text(9);
    REQUIRE(bytes.size() == static_cast<std::size_t>(tensor.bytes()));
    CHECK(std::memcmp(bytes.data(), tensor.to_vector<float>().data(), bytes.size()) == 0);
  }
  CHECK(found == 2 * 5 + 2);
}

TEST_CASE("every family has a model, whose names fit", "[onnx]") {
  Generator generator{1, 0};
  const auto operators_of = [](Module& net, std::int64_t side) {
    net.deploy();
    net.train(false);
    const Model model = written(net, {1, side, side, 3});
    model.check_names();
    const std::vector<std::string> types = model.operators();
    return std::multiset<std::string>(types.begin(), types.end());
  };
  Vgg vgg({.stages = {{4}, {6, 6}}, .grid = 2, .hidden = 8, .classes = 3}, generator);
  const auto in_vgg = operators_of(vgg, 8);
  CHECK(in_vgg.count("MaxPool") == 2);
  CHECK(in_vgg.count("Gemm") == 3);
  CHECK(!in_vgg.contains("Transpose"));  // channels come first anyway

  MobileNetV2 mobilenet({.stages = {{.expansion = 2, .channels = 8, .blocks = 2, .stride = 1}},
                         .first_channels = 8,
                         .last_channels = 16,
                         .classes = 3},
                        generator);
  CHECK(operators_of(mobilenet, 8).count("Clip") == 6);

  DenseNet densenet({.depths = {2, 1}, .growth = 4, .first_channels = 8, .classes = 3}, generator);
  const auto in_densenet = operators_of(densenet, 32);
  CHECK(in_densenet.count("Concat") >= 3);
  CHECK(in_densenet.count("BatchNormalization") >= 3);  // those that do not fold

  RepVgg repvgg({.depths = {2}, .channels = {8}, .classes = 3}, generator);
  CHECK(operators_of(repvgg, 8).count("Conv") == 3);  // one a block
}

TEST_CASE("a model takes the precision of its network", "[onnx]") {
  const auto net = small_resnet();
  net->to(DType::float64);
  const Model model = written(*net, {1, 8, 8, 3});
  CHECK(model.tensors.at("fc.weight").integer(2) == 11);  // DOUBLE
}

TEST_CASE("writing a model changes nothing", "[onnx]") {
  const auto net = small_resnet();
  const auto before = all_values(net->state_dict());
  written(*net, {1, 8, 8, 3});
  CHECK(all_values(net->state_dict()) == before);
  CHECK(net->parameters()[0].device() == test::test_device());
}

TEST_CASE("what ONNX export does not know is an error that names the layer", "[onnx]") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.onnx";
  const auto net = small_resnet();
  net->undeploy();
  REQUIRE_THROWS_WITH(write_onnx(*net, {1, 8, 8, 3}, path),
                      "write_onnx: conv1 is not deployed; call deploy() before");
  net->deploy();
  REQUIRE_THROWS_AS(write_onnx(*net, {1, 8, 8, 4}, path), Error);

  class Strange final : public Module {
   public:
    Strange() { fc_ = register_module("fc", std::make_shared<Linear>(Linear::Options{2, 2})); }
    Tensor forward(const Tensor& x) override { return (*fc_)(exp(x)); }

   private:
    std::shared_ptr<Linear> fc_;
  } strange;
  REQUIRE_THROWS_WITH(
      write_onnx(strange, {1, 2}, path),
      "write_onnx: fc: linear reads what an operation without translation has computed: "
      "float32 [1, 2] on meta");

  class Exponential final : public Module {
   public:
    Tensor forward(const Tensor& x) override { return exp(x); }
  } exponential;
  REQUIRE_THROWS_WITH(
      write_onnx(exponential, {1, 2}, path),
      "write_onnx: the output is what an operation without translation has computed");
  CHECK(!std::filesystem::exists(path));
}
