// What the families keep for backward, on Device::meta.

#include <memory>
#include <string>

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

}  // namespace

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
