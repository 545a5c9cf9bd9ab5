// What the families keep for backward, on Device::meta.

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "attune/core/format_text.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/construct_on.h"
#include "attune/layers/models/make_model.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;

namespace {

std::int64_t saved(const std::string& name, Mode mode, std::int64_t batch,
                   Stem stem = Stem::imagenet) {
  const ConstructOn scope(Device::meta);
  const auto net = make_model(name, {.stem = stem});
  net->train(false);  // without dropout
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
  }
  const std::int64_t side = stem == Stem::imagenet ? 224 : 32;
  const Tensor images = Tensor::empty({batch, side, side, 3}, DType::float32, Device::meta);
  const Tensor labels = Tensor::zeros({batch}, DType::int64, Device::meta);
  return saved_bytes(softmax_cross_entropy((*net)(images), labels), {images});
}

// 1234567 -> "1,234,567"
std::string grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

// A row of the tables in docs/models.md.
std::string table_row(const std::string& name) {
  const Stem stem = usual_stem(name);
  const std::int64_t batch = stem == Stem::imagenet ? 32 : 128;
  const std::int64_t eval = saved(name, Mode::eval, batch, stem);
  const std::int64_t tune = saved(name, Mode::tune, batch, stem);
  const ConstructOn scope(Device::meta);
  return format_text("| `{}` | {} | {} | {} | {} | {:.1f} % |", name,
                     grouped(make_model(name)->parameter_count()),
                     grouped(saved(name, Mode::train, batch, stem)), grouped(eval), grouped(tune),
                     100 * (1 - static_cast<double>(tune) / static_cast<double>(eval)));
}

}  // namespace

TEST_CASE("docs/models.md says what each network keeps", "[models][memory]") {
  std::ifstream file(std::string(ATTUNE_TEST_DATA_DIR) + "/../docs/models.md");
  REQUIRE(file);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const std::string& name : model_names()) {
    const std::string row = table_row(name);
    INFO(row);
    CHECK(text.find(row + "\n") != std::string::npos);
  }
}

TEST_CASE("in every family Tune keeps what Deploy keeps, and less than Eval", "[models][memory]") {
  for (const char* name : {"vgg11_bn", "mobilenet_v2", "resnext50_32x4d", "repvgg_a0",
                           "densenet121", "densenet_bc100"}) {
    for (const std::int64_t batch : {1, 32}) {
      for (const Stem stem : {Stem::cifar, Stem::imagenet}) {
        INFO(name << ", batch " << batch);
        const std::int64_t tune = saved(name, Mode::tune, batch, stem);
        CHECK(tune == saved(name, Mode::deploy, batch, stem));
        CHECK(tune < saved(name, Mode::eval, batch, stem));
        CHECK(saved(name, Mode::eval, batch, stem) < saved(name, Mode::train, batch, stem));
      }
    }
  }
}

TEST_CASE("RepVGG-A0 in Tune keeps a block's output once", "[models][memory]") {
  // Elements an image of 32x32 pixels with the CIFAR stem: outputs of all blocks, each of them the
  // next one's input in all three branches; then what the head keeps: its input and the logits.
  const std::int64_t outputs = (1024 * 48) * 3 + (256 * 96) * 4 + (64 * 192) * 14 + 16 * 1280;
  const std::int64_t head = 1280 + 10;
  CHECK(saved("repvgg_a0", Mode::tune, 8, Stem::cifar) == 8 * (4 * (outputs + head) + 8));
  // Eval also keeps the outputs of both convolutions in each block.
  CHECK(saved("repvgg_a0", Mode::eval, 8, Stem::cifar) ==
        8 * (4 * (outputs + head + 2 * outputs) + 8));
}
