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
  std::int64_t activation_peak = 0, gradient_peak = 0;  // of these alone
};

// Gradients of parameters are made in the pass, as in every step that begins with zero_grad().
Memory measure(const ResNetOptions& options, Mode mode, const Shape& input, Device device,
               const Recompute& recompute = {}, bool round_saves = false) {
  const Bfloat16Saves rounding(round_saves);
  const auto net = std::make_shared<ResNet>(options);
  net->set_recompute(recompute);
  if (mode == Mode::deploy) {
    net->deploy();
  } else {
    net->set_mode(mode);
  }
  net->to(device);
  const Tensor images = Tensor::zeros(input, DType::float32, device);
  const Tensor labels = Tensor::zeros({input[0]}, DType::int64, device);
  const MemoryScope scope(device);
  const MemoryStats before = memory_stats(device);
  const Tensor loss = softmax_cross_entropy((*net)(images), labels);
  Memory memory{.saved = saved_bytes(loss, {images})};
  loss.backward();
  memory.peak = scope.peak_above_start();
  const MemoryStats after = memory_stats(device);
  const auto peak = [&](MemoryPurpose purpose) {
    return after[purpose].peak - before[purpose].live;
  };
  memory.activation_peak = peak(MemoryPurpose::activation);
  memory.gradient_peak = peak(MemoryPurpose::gradient);
  return memory;
}

Memory measure(const std::string& name, Mode mode, std::int64_t batch, std::int64_t size,
               Device device, const Recompute& recompute = {}) {
  return measure(resnet_options(name, {.classes = 10, .stem = ResNetStem::cifar}), mode,
                 {batch, size, size, 3}, device, recompute);
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

TEST_CASE("what ResNet-20 keeps in Train without activations, or first convolutions of blocks",
          "[resnet][memory]") {
  // Elements an image. The outputs of the blocks are kept in any case; the stem's and those within
  // the blocks are as large as what they are computed from.
  const std::int64_t stem = 16384;
  const std::int64_t inner = 3 * 16384 + 3 * 8192 + 3 * 4096;
  const auto less = [](std::int64_t elements) { return 199'274'624 - 128 * 4 * elements; };
  const auto saved = [](Mode mode, const Recompute& recompute) {
    return measure("resnet20", mode, 128, 32, Device::meta, recompute).saved;
  };
  CHECK(saved(Mode::train, {}) == less(0));
  CHECK(saved(Mode::train, {.activations = true}) == less(stem + inner));
  CHECK(saved(Mode::train, {.blocks = true}) == less(2 * inner));
  CHECK(saved(Mode::train, {.activations = true, .blocks = true}) == less(stem + 2 * inner));
  const std::int64_t tune = 96'507'904 - 128 * 4 * inner;
  CHECK(saved(Mode::tune, {.blocks = true}) == tune);
  CHECK(saved(Mode::deploy, {.blocks = true}) == tune);
  CHECK(saved(Mode::tune, {.activations = true}) == 96'507'904);  // Train's business alone
}

TEST_CASE("ResNet-50 at 224 x 224, batch 64, reaches its memory goals", "[resnet][memory]") {
  const auto measured = [](Mode mode, const Recompute& recompute = {}, bool round_saves = false) {
    return measure(resnet_options("resnet50"), mode, {64, 224, 224, 3}, Device::meta, recompute,
                   round_saves);
  };
  const double gibibyte = 1 << 30;
  const Memory tune = measured(Mode::tune);
  CHECK(tune.saved == 2'319'313'408);
  CHECK(tune.peak == 2'374'653'864);
  CHECK(static_cast<double>(tune.peak) <= 2.3 * gibibyte);

  const Memory train = measured(Mode::train);
  CHECK(train.saved == 5'164'705'792);
  CHECK(train.peak == 5'234'150'824);
  CHECK(static_cast<double>(train.peak) <= 5.0 * gibibyte);

  const Memory activations = measured(Mode::train, {.activations = true});
  CHECK(activations.saved == 4'323'354'624);
  CHECK(activations.peak == 4'399'222'184);
  CHECK(static_cast<double>(activations.peak) <= 4.3 * gibibyte);

  const Memory blocks = measured(Mode::tune, {.blocks = true});
  CHECK(blocks.saved == 1'831'201'280);
  CHECK(blocks.peak == 1'925'076'904);
  CHECK(static_cast<double>(blocks.peak) <= 1.8 * gibibyte);

  const Memory rounded = measured(Mode::tune, {}, true);
  CHECK(rounded.saved == 1'166'469'632);
  CHECK(rounded.peak == 1'316'618'240);
  CHECK(static_cast<double>(rounded.peak) <= 1.3 * gibibyte);
}

TEST_CASE("the meta device counts what the CPU does, byte for byte", "[resnet][memory]") {
  const ResNetOptions basic = resnet_options("resnet20");
  ResNetOptions bottleneck = resnet_options("resnet50", {.classes = 10});
  bottleneck.depths = {2, 1};
  for (const ResNetOptions& options : {basic, bottleneck}) {
    for (const Mode mode : kModes) {
      for (const Recompute& recompute :
           {Recompute{}, {.activations = true}, {.blocks = true}, {true, true}}) {
        for (const bool rounded : {false, true}) {
          if (rounded && recompute != Recompute{}) continue;
          INFO(to_string(mode) << ", recompute " << to_string(recompute)
                               << (rounded ? ", rounded" : ""));
          const auto measured = [&](Device device) {
            return measure(options, mode, {2, 32, 32, 3}, device, recompute, rounded);
          };
          const Memory meta = measured(Device::meta), cpu = measured(test::test_device());
          CHECK(meta.saved == cpu.saved);
          CHECK(meta.activation_peak == cpu.activation_peak);
          CHECK(meta.gradient_peak == cpu.gradient_peak);
          // A kernel's own scratch exists only where there is arithmetic.
          CHECK(meta.peak <= cpu.peak);
        }
      }
    }
  }
}
