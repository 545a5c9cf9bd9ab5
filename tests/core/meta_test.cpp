#include <array>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/graph_report.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "tests/core/core_test.h"

namespace attune {
namespace {

using namespace test;

Tensor parameter(const Shape& shape, Device device) {
  Tensor tensor = Tensor::full(shape, 0.01, DType::float32, device, MemoryPurpose::parameter);
  return tensor.set_requires_grad();
}

// Every operation at least once.
Tensor network(const Tensor& x, const std::vector<Tensor>& p, const Tensor& labels) {
  Generator generator{1, 0};
  const Conv2dOptions same{.padding = {1, 1}};
  Tensor y = relu(conv2d(x, p[0], p[1], same));
  y = max_pool2d(conv2d(y, p[2], {}, same, y, true), {});
  y = concatenate({avg_pool2d(y, {}), max_pool2d(y, {})}, -1);
  y = pad(slice(y, 3, 1, 8), {{0, 0}, {0, 0}, {0, 0}, {1, 0}});
  y = dropout(tanh(y) + sigmoid(y) - exp(-abs(y)), 0.25, generator);
  const Tensor pooled = global_avg_pool(permute(y, {0, 2, 1, 3}));
  const Tensor scale = sqrt(pow(pooled, 2) + 1.0) / log(exp(pooled) + 2.0);
  Tensor logits = linear(flatten(pooled * scale), p[3], p[4]);
  logits = matmul(logits, transpose(p[5])) - mean(logits, {1}, true) * max(logits, {0, 1});
  Tensor loss = softmax_cross_entropy(logits, labels, 0.1) + mean(p[4]);
  argmax(logits, 1);
  greater(logits, logits);
  return loss;
}

struct Usage {
  std::array<std::int64_t, 4> live{}, peak{};
  std::int64_t allocations = 0;
};

bool operator==(const Usage& a, const Usage& b) { return a.live == b.live && a.peak == b.peak; }

// Bytes by purpose since `start`; scratch memory of kernels aside, which meta does not need.
Usage usage_since(const MemoryStats& start, Device device) {
  const MemoryStats now = memory_stats(device);
  Usage usage;
  for (std::size_t i = 0; i < 4; ++i) {
    usage.live[i] = now.by_purpose[i].live - start.by_purpose[i].live;
    usage.peak[i] = now.by_purpose[i].peak - start.by_purpose[i].live;
  }
  return usage;
}

struct Trace {
  std::vector<Usage> stages;
  std::int64_t saved = 0;
};

Trace trace(Device device) {
  const MemoryStats start = memory_stats(device);
  reset_peak_memory(device);
  Trace result;
  {
    const Tensor x = Tensor::ones({2, 8, 8, 3}, DType::float32, device);
    const Tensor labels = Tensor::zeros({2}, DType::int64, device);
    const std::vector<Tensor> p{parameter({4, 3, 3, 3}, device), parameter({4}, device),
                                parameter({4, 3, 3, 4}, device), parameter({5, 8}, device),
                                parameter({5}, device),          parameter({5, 5}, device)};
    const Tensor loss = network(x, p, labels);
    result.saved = saved_bytes(loss, {x});
    result.stages.push_back(usage_since(start, device));
    loss.backward();
    result.stages.push_back(usage_since(start, device));
    network(x, p, labels).backward();  // accumulates
    result.stages.push_back(usage_since(start, device));
  }
  result.stages.push_back(usage_since(start, device));
  return result;
}

TEST_CASE("meta counts byte for byte what the CPU holds", "[meta][memory]") {
  const Trace on_cpu = trace(test_device()), on_meta = trace(Device::meta);
  CHECK(on_cpu.saved == on_meta.saved);
  CHECK(on_cpu.saved > 0);
  REQUIRE(on_cpu.stages.size() == on_meta.stages.size());
  for (std::size_t i = 0; i < on_cpu.stages.size(); ++i) {
    INFO("stage " << i);
    CHECK(on_cpu.stages[i] == on_meta.stages[i]);
  }
  CHECK(on_cpu.stages.back().live == std::array<std::int64_t, 4>{});
}

TEST_CASE("meta holds networks larger than any memory", "[meta]") {
  const Tensor x = Tensor::ones({1 << 20, 224, 224, 64}, DType::float32, Device::meta);
  const Tensor w = parameter({64, 3, 3, 64}, Device::meta);
  const Tensor loss = mean(relu(conv2d(x, w, {}, {.padding = {1, 1}})));
  CHECK(saved_bytes(loss) == 2 * x.bytes());
  loss.backward();
  CHECK(w.grad().device() == Device::meta);
}

TEST_CASE("meta has no elements to give", "[meta][error]") {
  const Tensor x = Tensor::ones({2}, DType::float32, Device::meta);
  CHECK(error_message([&] { x.to_vector<float>(); }) ==
        "to_vector: a tensor on meta has no elements");
  CHECK(error_message([&] { sum(x).item(); }) == "to_vector: a tensor on meta has no elements");
  CHECK(error_message([&] { x.to(test_device()); }) ==
        "copy: a tensor on meta has no elements to copy to cpu");
  CHECK(x.to(Device::meta).defined());
  CHECK(Tensor::ones({2}).to(Device::meta).device() == Device::meta);
}

}  // namespace
}  // namespace attune
