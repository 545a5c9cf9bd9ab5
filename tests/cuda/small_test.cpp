// Every operation on little data, on the GPU and on the CPU: little enough for the sanitizers,
// under which each thread of an emulated GPU takes microseconds, and enough for several blocks and
// slices of everything that threads share.

#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/ops/image_batch.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/cuda_precision.h"
#include "attune/kernels/reduce.h"
#include "attune/kernels/sanitizers.h"
#include "attune/layers/mode.h"
#include "attune/optim/adam.h"
#include "attune/optim/ema.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/test_util.h"

using namespace attune;

namespace {

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

Tensor random(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1) {
  Generator generator{seed, 0};
  return random_uniform(shape, low, high, generator);
}

/// The result of f and the gradients of <f, a random direction>, computed on `device`.
std::vector<std::vector<double>> results_on(Device device, const Function& f,
                                            const std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) {
    Tensor leaf = input.to(device).clone();
    if (is_floating(leaf.dtype())) leaf.set_requires_grad();
    leaves.push_back(leaf);
  }
  const Tensor y = f(leaves);
  CHECK(y.device() == device);
  std::vector<std::vector<double>> results{y.to_vector<double>()};
  if (!y.requires_grad()) return results;
  Generator generator{9, 0};
  y.backward(random_normal(y.shape(), 0, 1, generator, y.dtype(), device));
  for (const Tensor& leaf : leaves) {
    if (leaf.grad().defined()) results.push_back(leaf.grad().to_vector<double>());
  }
  return results;
}

void check_on_both(const std::string& name, const std::vector<Tensor>& inputs, const Function& f,
                   double tolerance = 2e-5) {
  INFO(name);
  const auto on_cpu = results_on(Device::cpu, f, inputs);
  const auto on_gpu = results_on(Device::cuda(0), f, inputs);
  REQUIRE(on_gpu.size() == on_cpu.size());
  for (std::size_t i = 0; i < on_cpu.size(); ++i) {
    INFO("result " << i);
    CHECK(test::relative_error(on_gpu[i], on_cpu[i]) <= tolerance);
  }
}

}  // namespace

TEST_CASE("small: memory that is released is kept, unless each block is by itself") {
  const bool separate =
      kernels::kSanitized || std::getenv("ATTUNE_CUDA_SEPARATE_BLOCKS") != nullptr;
  Tensor::ones({1000}, DType::float32, Device::cuda(0));
  CHECK((kernels::cuda::idle_bytes(0) == 0) == separate);
}

TEST_CASE("small: arithmetic and movement") {
  const Tensor a = random({3, 5, 7}, 1), b = random({5, 1}, 2, 0.5, 2);
  check_on_both("a * b", {a, b}, [](const auto& in) { return in[0] * in[1]; });
  check_on_both("a / b", {a, b}, [](const auto& in) { return in[0] / in[1]; });
  check_on_both("sigmoid", {a}, [](const auto& in) { return sigmoid(in[0]); });
  check_on_both("permute", {a}, [](const auto& in) { return permute(in[0], {2, 0, 1}); });
  check_on_both("relu", {a}, [](const auto& in) { return relu(in[0]); });
  check_on_both("dropout", {a}, [](const auto& in) {
    Generator generator{3, 0};
    return dropout(in[0], 0.4, generator);
  });
}

TEST_CASE("small: reductions, in one slice and in several") {
  const Tensor x = random({2, 700, 3}, 1);
  check_on_both("sum over the middle", {x}, [](const auto& in) { return sum(in[0], {1}); });
  check_on_both("sum of all", {x}, [](const auto& in) { return sum(in[0]); });
  check_on_both("max over the middle", {x}, [](const auto& in) { return max(in[0], {1}); });
  for (const std::int64_t count : {1, 700, 9000}) {
    const Tensor values = random({count}, 2), on_gpu = values.to(Device::cuda(0));
    const double expected = kernels::sum_of_squares(Device::cpu, values.data<float>(), count);
    const double squares = kernels::sum_of_squares(Device::cuda(0), on_gpu.data<float>(), count);
    CHECK(std::abs(squares - expected) <= 1e-12 * expected);
    CHECK(kernels::all_finite(Device::cuda(0), on_gpu.data<float>(), count));
  }
}

TEST_CASE("small: products and the loss") {
  const Tensor x = random({20, 30}, 1), w = random({70, 30}, 2), bias = random({70}, 3);
  check_on_both("linear", {x, w, bias}, [](const auto& in) { return linear(in[0], in[1], in[2]); });
  const Tensor targets = Tensor::from(std::vector<std::int64_t>{0, 39, 7}, {3});
  check_on_both("cross-entropy", {random({3, 40}, 4), targets},
                [](const auto& in) { return softmax_cross_entropy(in[0], in[1], 0.1); });
}

TEST_CASE("small: pooling") {
  const Tensor x = random({2, 6, 5, 3}, 1);
  check_on_both("max", {x}, [](const auto& in) {
    return max_pool2d(in[0], {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  });
  check_on_both("average", {x}, [](const auto& in) {
    return avg_pool2d(in[0], {.window = {2, 2}, .stride = {2, 2}});
  });
  check_on_both("global", {x}, [](const auto& in) { return global_avg_pool(in[0]); });
}

TEST_CASE("small: convolution, batch norm, and the two together in every mode") {
  const Tensor x = random({2, 7, 6, 4}, 1), w = random({6, 3, 3, 4}, 2), bias = random({6}, 3);
  const Tensor gamma = random({6}, 4, 0.5, 2), beta = random({6}, 5), mean = random({6}, 6);
  const Tensor var = random({6}, 7, 0.5, 2);
  const Conv2dOptions padded{.padding = {1, 1}};
  check_on_both("conv2d", {x, w, bias},
                [&](const auto& in) { return conv2d(in[0], in[1], in[2], padded); });
  for (const auto precision : {CudaPrecision::tf32, CudaPrecision::bf16}) {
    set_cuda_precision(precision);
    check_on_both(
        to_string(precision), {x, w, bias},
        [&](const auto& in) { return conv2d(in[0], in[1], in[2], padded); }, 2e-2);
  }
  set_cuda_precision(CudaPrecision::fp32);
  const Tensor y = random({2, 40, 10, 6}, 8);
  check_on_both("batch norm, Train", {y, gamma, beta}, [&](const auto& in) {
    Tensor running_mean = mean.to(in[0].device()).clone();
    Tensor running_var = var.to(in[0].device()).clone();
    return batch_norm_train(in[0], in[1], in[2], running_mean, running_var, 0.1, 1e-5);
  });
  ConvBNSettings settings;
  settings.convolution.conv = padded;
  settings.relu = true;
  for (const Mode mode : {Mode::train, Mode::eval, Mode::tune}) {
    check_on_both(to_string(mode), {x, w, bias, gamma, beta}, [&](const auto& in) {
      const Device device = in[0].device();
      const ConvBNTensors tensors{.x = in[0],
                                  .weight = in[1],
                                  .bias = mode == Mode::train ? Tensor() : in[2],
                                  .gamma = in[3],
                                  .beta = in[4],
                                  .running_mean = mean.to(device).clone(),
                                  .running_var = var.to(device).clone()};
      if (mode == Mode::train) return conv_bn_train(tensors, settings);
      return mode == Mode::eval ? conv_bn_eval(tensors, settings) : conv_bn_tune(tensors, settings);
    });
  }
}

TEST_CASE("small: convolutions in groups, and their statistics") {
  const Tensor x = random({2, 7, 6, 8}, 1);
  for (const std::int64_t groups : {2, 8}) {  // tiles, and a thread for each output
    const Tensor w = random({8, 3, 3, 8 / groups}, 2), gamma = random({8}, 4, 0.5, 2);
    check_on_both(std::to_string(groups) + " groups", {x, w, gamma}, [&](const auto& in) {
      ConvBNSettings settings;
      settings.convolution.conv = {.padding = {1, 1}, .groups = groups};
      const Device device = in[0].device();
      return conv_bn_train({.x = in[0],
                            .weight = in[1],
                            .gamma = in[2],
                            .beta = Tensor::ones({8}, DType::float32, device),
                            .running_mean = Tensor::zeros({8}, DType::float32, device),
                            .running_var = Tensor::ones({8}, DType::float32, device)},
                           settings);
    });
  }
}

TEST_CASE("small: a batch of resident images") {
  std::vector<std::uint8_t> bytes(std::size_t{3} * 5 * 4 * 3);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(7 * i);
  const auto batch = [&](Device device) {
    const Tensor pixels = Tensor::from(bytes, {3, 5, 4, 3}, device);
    const Tensor labels = Tensor::from(std::vector<std::int64_t>{5, 6, 7}, {3}, device);
    const Tensor order = Tensor::from(std::vector<std::int64_t>{2, 0, 1}, {3}, device);
    Tensor images = Tensor::empty({2, 5, 4, 3}, DType::float32, device);
    Tensor targets = Tensor::empty({2}, DType::int64, device);
    make_image_batch(images, targets, pixels, labels, order, 1,
                     {.padding = 2, .flip_probability = 0.5, .seed = 4});
    return std::vector{images.to_vector<double>(), targets.to_vector<double>()};
  };
  CHECK(batch(Device::cuda(0)) == batch(Device::cpu));
}

TEST_CASE("small: what is kept as bfloat16 makes no difference to convolutions in bf16") {
  const Conv2dOptions padded{.padding = {1, 1}};
  const auto gradient = [&](bool rounded) {
    const Bfloat16Saves rounding(rounded);
    const Tensor x = random({2, 7, 6, 4}, 1).to(Device::cuda(0));
    const Tensor first = random({8, 3, 3, 4}, 2).to(Device::cuda(0));
    Tensor second = random({4, 3, 3, 8}, 3).to(Device::cuda(0)).set_requires_grad();
    const Tensor hidden = conv2d(x.detach().set_requires_grad(), first, {}, padded, {}, true);
    conv2d(hidden, second, {}, padded).backward(random({2, 7, 6, 4}, 4).to(Device::cuda(0)));
    return second.grad().to_vector<double>();
  };
  set_cuda_precision(CudaPrecision::bf16);
  CHECK(gradient(true) == gradient(false));
  set_cuda_precision(CudaPrecision::fp32);
  CHECK(gradient(true) != gradient(false));
}

TEST_CASE("small: optimizers, and averages of what they leave") {
  const auto weights_after = [](Device device, bool adam) {
    Tensor w = random({300}, 1).to(device).clone().set_requires_grad();
    Ema average({w}, {.decay = 0.5});
    const auto step = [&](auto optimizer) {
      for (int i = 0; i < 3; ++i) {
        w.set_grad(random({300}, 2).to(device));
        optimizer.step();
      }
    };
    if (adam) {
      step(Adam({w}, {.lr = 0.01}));
    } else {
      step(Sgd({w}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3}));
    }
    average.update();
    average.swap();
    return w.to_vector<double>();
  };
  for (const bool adam : {false, true}) {
    CHECK(test::relative_error(weights_after(Device::cuda(0), adam),
                               weights_after(Device::cpu, adam)) <= 1e-5);
  }
}
