// What whole networks keep for backward, to the byte, and at what peak.

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "attune/core/graph_report.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/layers/models/resnet.h"
#include "tests/layers/layers_test_util.h"

using namespace attune;

namespace {

constexpr std::array<Mode, 4> kModes{Mode::train, Mode::eval, Mode::tune, Mode::deploy};

struct Memory {
  std::int64_t saved = 0;
  std::int64_t peak = 0;  // of a forward and backward pass, above what was there before
};

Memory measure(const std::string& name, Mode mode, std::int64_t batch, std::int64_t size,
               Device device) {
  auto net = make_resnet(name, {.classes = 10, .stem = ResNetStem::cifar});
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
  }
  net->to(device);
  const Tensor images = Tensor::zeros({batch, size, size, 3}, DType::float32, device);
  const Tensor labels = Tensor::zeros({batch}, DType::int64, device);
  const MemoryScope scope(device);
  const Tensor loss = softmax_cross_entropy((*net)(images), labels);
  Memory memory{.saved = saved_bytes(loss, {images})};
  loss.backward();
  memory.peak = scope.peak_above_start();
  return memory;
}

}  // namespace

TEST_CASE("ResNet-20 at batch 128 keeps the bytes that its formula says", "[resnet][memory]") {
  // Elements an image: outputs that end in a ReLU (each is the next convolution's input), and all
  // outputs of convolutions (the two projections have no ReLU).
  const std::int64_t relu_outputs = 7 * 16384 + 6 * 8192 + 6 * 4096;
  const std::int64_t conv_outputs = relu_outputs + 8192 + 4096;
  const std::int64_t head = 64 + 10;                         // its input, and the logits
  const std::int64_t statistics = 7 * 16 + 7 * 32 + 7 * 64;  // channels: mean and 1 / sigma each
  const std::int64_t tune = 128 * (4 * (relu_outputs + head) + 8);  // 8: the label
  const std::int64_t eval = tune + 128 * 4 * conv_outputs;
  CHECK(tune == 96'507'904);
  CHECK(eval == 199'268'352);

  CHECK(measure("resnet20", Mode::tune, 128, 32, Device::meta).saved == tune);
  CHECK(measure("resnet20", Mode::deploy, 128, 32, Device::meta).saved == tune);
  CHECK(measure("resnet20", Mode::eval, 128, 32, Device::meta).saved == eval);
  CHECK(measure("resnet20", Mode::train, 128, 32, Device::meta).saved == eval + 2 * 4 * statistics);
}

TEST_CASE("Tune keeps what Deploy keeps, at every batch", "[resnet][memory]") {
  for (const char* name : {"resnet20", "resnet18", "resnet50"}) {
    for (const std::int64_t batch : {1, 3, 32}) {
      INFO(name << ", batch " << batch);
      const Memory tune = measure(name, Mode::tune, batch, 32, Device::meta);
      CHECK(tune.saved == measure(name, Mode::deploy, batch, 32, Device::meta).saved);
      CHECK(tune.saved < measure(name, Mode::eval, batch, 32, Device::meta).saved);
    }
  }
}

TEST_CASE("the meta device counts what the CPU does, byte for byte", "[resnet][memory]") {
  for (const Mode mode : kModes) {
    INFO(to_string(mode));
    const Memory meta = measure("resnet20", mode, 2, 16, Device::meta);
    const Memory cpu = measure("resnet20", mode, 2, 16, Device::cpu);
    CHECK(meta.saved == cpu.saved);
    // A kernel's own scratch exists only where there is arithmetic.
    CHECK(meta.peak <= cpu.peak);
  }
}
