// A GPU from the user's side: models move there and back, compute what they do on the CPU and take
// the same memory; and what goes wrong is said, and leaves the rest usable.

#include <cmath>
#include <string>

#include "attune/core/autograd.h"
#include "attune/core/grad_check.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "attune/layers/models/resnet.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/emulation/runtime.h"
#include "tests/test_util.h"

using namespace attune;

namespace {

const Device kGpu = Device::cuda(0);

std::string message_of(const auto& action) { return test::message_of<Error>(action); }

/// What three steps of training give: the losses, and the weights in the end.
std::vector<double> train(Device device, Mode mode) {
  Generator generator{1, 0};
  auto net = resnet20({}, generator);
  net->to(device);
  net->set_mode(mode);
  Sgd sgd(net->parameters(), {.lr = 0.05, .momentum = 0.9});
  const Tensor x = random_normal({2, 16, 16, 3}, 0, 1, generator, DType::float32, device);
  const Tensor targets = Tensor::from(std::vector<std::int64_t>{3, 7}, {2}, device);
  std::vector<double> results;
  for (int step = 0; step < 3; ++step) {
    const Tensor loss = softmax_cross_entropy((*net)(x), targets);
    sgd.zero_grad();
    loss.backward();
    sgd.step();
    results.push_back(loss.item());
  }
  for (const Tensor& parameter : net->parameters()) {
    CHECK(parameter.device() == device);
    results.push_back(parameter.to_vector<double>().front());
  }
  return results;
}

}  // namespace

TEST_CASE("a network that has moved to the GPU trains as on the CPU") {
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune}) {
    const std::vector<double> on_gpu = train(kGpu, mode);
    CHECK(test::relative_error(on_gpu, train(Device::cpu, mode)) <= 1e-3);
    CHECK(on_gpu == train(kGpu, mode));
  }
}

TEST_CASE("folding and unfolding work where the network is") {
  Generator generator{1, 0};
  auto net = resnet20({}, generator);
  const Tensor x = random_normal({2, 16, 16, 3}, 0, 1, generator);
  net->set_mode(Mode::eval);
  const NoGradGuard no_grad;
  const std::vector<double> expected = (*net)(x).to_vector<double>();
  net->to(kGpu);
  const Tensor on_gpu = x.to(kGpu);
  CHECK(test::relative_error((*net)(on_gpu).to_vector<double>(), expected) <= 1e-5);
  net->deploy();
  CHECK(test::relative_error((*net)(on_gpu).to_vector<double>(), expected) <= 1e-5);
  net->undeploy();
  for (const Tensor& parameter : net->parameters()) CHECK(parameter.device() == kGpu);
  CHECK(test::relative_error((*net)(on_gpu).to_vector<double>(), expected) <= 1e-5);
  net->to(Device::cpu);
  CHECK(test::relative_error((*net)(x).to_vector<double>(), expected) <= 1e-5);
}

TEST_CASE("gradients are checked on the GPU") {
  Generator generator{1, 0};
  const Tensor x = random_normal({2, 5, 5, 3}, 0, 1, generator, DType::float64, kGpu);
  const Tensor w = random_normal({4, 3, 3, 3}, 0, 1, generator, DType::float64, kGpu);
  const GradCheckResult result = grad_check(
      [](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], {}, {}); }, {x, w});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("tensors of different devices do not meet") {
  const Tensor a = Tensor::ones({2}), b = Tensor::ones({2}, DType::float32, kGpu);
  CHECK(message_of([&] { a + b; }).find("cuda:0") != std::string::npos);
  CHECK(b.to(Device::cpu).to_vector<float>() == a.to_vector<float>());
  CHECK(b.to(DType::float64).to_vector<float>() == a.to_vector<float>());
}

TEST_CASE("a step takes the same bytes on every device, and the GPU's memory hardly more") {
  const auto step = [](Device device) {
    Generator generator{1, 0};
    auto net = resnet20({}, generator);
    net->to(device);
    Sgd sgd(net->parameters(), {.lr = 0.05, .momentum = 0.9});
    const Tensor x = random_normal({4, 16, 16, 3}, 0, 1, generator, DType::float32, device);
    const Tensor targets = Tensor::from(std::vector<std::int64_t>{3, 7, 0, 9}, {4}, device);
    reset_peak_memory(device);
    for (int i = 0; i < 2; ++i) {
      sgd.zero_grad();
      softmax_cross_entropy((*net)(x), targets).backward();
      sgd.step();
    }
    return memory_stats(device);
  };
  const MemoryStats before = memory_stats(kGpu);
  const MemoryStats on_gpu = step(kGpu), on_cpu = step(Device::cpu), counted = step(Device::meta);
  for (const auto purpose : {MemoryPurpose::parameter, MemoryPurpose::activation,
                             MemoryPurpose::gradient, MemoryPurpose::optimizer}) {
    INFO(to_string(purpose));
    CHECK(on_gpu[purpose].live == counted[purpose].live);
    CHECK(on_gpu[purpose].peak == counted[purpose].peak);
    CHECK(on_cpu[purpose].live == counted[purpose].live);
    CHECK(on_cpu[purpose].peak == counted[purpose].peak);
  }
  const MemoryStats after = memory_stats(kGpu);
  CHECK(after.total.live == before.total.live);
  if (after.idle == 0) return;  // under a sanitizer, which has to see each allocation
  const auto peak = static_cast<double>(on_gpu.total.peak);
  CHECK(static_cast<double>(after.idle + after.total.live) <= 1.08 * peak);
  release_idle_memory(kGpu);
  CHECK(memory_stats(kGpu).idle < (64 << 10));  // less than a page
}

TEST_CASE("exhausted memory is an error that names the bytes, and counts nothing") {
  const MemoryStats before = memory_stats(kGpu);
  emulation::set_device_memory(1 << 20);
  const Tensor held = Tensor::zeros({1000}, DType::float32, kGpu);
  std::size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  const std::string message = message_of([] { Tensor::zeros({1 << 19}, DType::float32, kGpu); });
  CHECK(message == "allocate: out of memory on cuda:0: 2097152 bytes asked for, " +
                       std::to_string(before.total.live + 4000) + " live, " +
                       std::to_string(static_cast<std::int64_t>(free) + memory_stats(kGpu).idle) +
                       " free");
  CHECK(memory_stats(kGpu).total.live == before.total.live + 4000);
  emulation::set_device_memory(1 << 30);
  CHECK(Tensor::ones({1 << 10}, DType::float32, kGpu).to_vector<float>().back() == 1);
}

TEST_CASE("a network that does not fit is refused, and a smaller batch is trained after that") {
  emulation::set_device_memory(12 << 20);
  Generator generator{1, 0};
  auto net = resnet20({}, generator);
  net->to(kGpu);
  const auto train = [&](std::int64_t batch) {
    const Tensor x = random_normal({batch, 16, 16, 3}, 0, 1, generator, DType::float32, kGpu);
    const Tensor targets = Tensor::zeros({batch}, DType::int64, kGpu);
    softmax_cross_entropy((*net)(x), targets).backward();
  };
  const std::int64_t live = memory_stats(kGpu).total.live;
  const std::string message = message_of([&] { train(64); });
  CHECK(message.rfind("allocate: out of memory on cuda:0: ", 0) == 0);
  CHECK(memory_stats(kGpu).total.live == live);
  CHECK(message_of([&] { train(2); }).empty());
  emulation::set_device_memory(1 << 30);
}

TEST_CASE("a target out of range is found by whoever waits next, once") {
  const Tensor logits = Tensor::zeros({700, 10}, DType::float32, kGpu);
  std::vector<std::int64_t> classes(700, 3);
  const Tensor good = Tensor::from(classes, {700}, kGpu);
  classes[600] = 10;
  classes[350] = -1;
  const Tensor bad = Tensor::from(classes, {700}, kGpu);
  const std::int64_t allocations = memory_stats(Device::cpu).allocations;
  const Tensor loss = softmax_cross_entropy(logits, bad);
  softmax_cross_entropy(logits, bad.view({700}));
  CHECK(memory_stats(Device::cpu).allocations == allocations);  // no copy of the targets
  CHECK(message_of([&] { loss.item(); }) ==
        "softmax_cross_entropy: the target of row 350 is -1, but there are 10 classes");
  CHECK(std::isnan(loss.item()));
  CHECK(std::abs(softmax_cross_entropy(logits, good).item() - std::log(10.0)) <= 1e-6);
}

TEST_CASE("a launch that fails is an error, and the next one works") {
  emulation::break_launches(cudaErrorNoKernelImageForDevice);
  CHECK(message_of([] { Tensor::zeros({3}, DType::float32, kGpu); }) ==
        "cuda: launching a kernel: no kernel image is available for execution on the device");
  emulation::break_launches(cudaSuccess);
  CHECK(Tensor::full({3}, 2, DType::float32, kGpu).to_vector<float>() ==
        std::vector<float>{2, 2, 2});
}

TEST_CASE("a product that cuBLAS refuses is an error, and the next one works") {
  const Tensor a = Tensor::ones({2, 3}, DType::float32, kGpu);
  const Tensor b = Tensor::ones({3, 2}, DType::float32, kGpu);
  matmul(a, b);
  emulation::break_launches(cudaErrorNoKernelImageForDevice);
  CHECK(message_of([&] { matmul(a, b); }) == "cuda: gemm: cuBLAS reports error 13");
  emulation::break_launches(cudaSuccess);
  CHECK(matmul(a, b).to_vector<float>() == std::vector<float>{3, 3, 3, 3});
}

TEST_CASE("a kernel that has failed is reported by whoever waits next, and the CPU computes on") {
  Tensor x = Tensor::ones({3}, DType::float32, kGpu);
  emulation::break_streams(cudaErrorIllegalAddress);
  const std::string reason = ": an illegal memory access was encountered";
  CHECK(message_of([&] { x.to_vector<float>(); }) == "cuda: copying to the host" + reason);
  CHECK(message_of([&] { x.copy_(Tensor::ones({3})); }) == "cuda: copying to the device" + reason);
  CHECK(message_of([] { synchronize(kGpu); }) == "cuda: waiting for kernels" + reason);
  CHECK((Tensor::ones({2}) + Tensor::ones({2})).to_vector<float>() == std::vector<float>{2, 2});
  emulation::break_streams(cudaSuccess);
}

TEST_CASE("devices that there are not are refused, and the CPU stays usable") {
  CHECK(message_of([] { Tensor::zeros({3}, DType::float32, Device::cuda(1)); }) ==
        "allocate: cuda:1 is not available, there are 1 GPUs");
  CHECK(Tensor::ones({2}).to_vector<float>() == std::vector<float>{1, 1});
}

// Each in a process of its own under CTest: a device that has answered once is not asked again.
TEST_CASE("without a driver the error says so") {
  emulation::break_driver(cudaErrorInsufficientDriver);
  const std::string message = message_of([] { Tensor::zeros({3}, DType::float32, kGpu); });
  emulation::break_driver(cudaSuccess);
  if (message.rfind("cuda:", 0) == 0) return;  // the device was in use before
  CHECK(message ==
        "allocate: cuda:0 is not available, there is no working driver: CUDA driver version is "
        "insufficient for CUDA runtime version");
}

TEST_CASE("without a GPU the error says so, and the CPU stays usable") {
  emulation::break_driver(cudaErrorNoDevice);
  const std::string message = message_of([] { Tensor::zeros({3}, DType::float32, kGpu); });
  emulation::break_driver(cudaSuccess);
  CHECK(Tensor::ones({2}).to_vector<float>() == std::vector<float>{1, 1});
  if (message.rfind("cuda:", 0) == 0) return;  // the device was in use before
  CHECK(message == "allocate: cuda:0 is not available, there are 0 GPUs");
}

TEST_CASE("a GPU that is too old is refused by name") {
  emulation::set_compute_capability(7, 5);
  const std::string message = message_of([] { Tensor::zeros({3}, DType::float32, kGpu); });
  emulation::set_compute_capability(9, 0);
  if (message.empty()) return;  // the device was in use before
  CHECK(message ==
        "allocate: cuda:0 is not available, emulated GPU has compute capability 7.5, and 8.0 is "
        "the least");
}
