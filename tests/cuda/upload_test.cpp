// Batches on their way to the GPU: they arrive, and nobody waits for them.

#include <memory>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/memory_stats.h"
#include "attune/core/ops/ops.h"
#include "attune/core/upload_buffer.h"
#include "attune/data/data_loader.h"
#include "attune/data/synthetic_shapes.h"
#include "tests/catch.h"
#include "tests/emulation/runtime.h"
#include "tests/test_util.h"

using namespace attune;

namespace {

const Device kGpu = Device::cuda(0);

/// What a step computes with a batch, so slowly that copies could overtake it.
Tensor use(const Batch& batch) {
  Tensor total = sum(batch.images * batch.images, {1, 2, 3});
  for (int i = 0; i < 3; ++i) total = total * 0.5 + sum(batch.images, {1, 2, 3});
  return total;
}

}  // namespace

TEST_CASE("upload: each tensor arrives, after those who use the one before") {
  UploadBuffer buffer(kGpu);
  Tensor total = Tensor::zeros({100}, DType::float32, kGpu);
  Tensor source = Tensor::zeros({100}, DType::float32, Device::cpu);
  float expected = 0;
  for (int i = 1; i <= 20; ++i) {
    source.fill_(i);
    buffer.send(source);
    source.fill_(-1);  // it has been read
    total = total * 0.5 + buffer.receive();
    expected = expected * 0.5F + static_cast<float>(i);
  }
  CHECK(total.to_vector<float>() == std::vector<float>(100, expected));
  buffer.send(Tensor::full({7}, 3, DType::float64, Device::cpu));
  CHECK(buffer.receive().to_vector<double>() == std::vector<double>(7, 3));
  CHECK(test::message_of<Error>([&] { buffer.send(total); }) ==
        "upload: float32 [100] on cuda:0 is not on the CPU");
}

TEST_CASE("upload: to the CPU nothing is copied") {
  UploadBuffer buffer(Device::cpu);
  const Tensor source = Tensor::ones({5});
  buffer.send(source);
  CHECK(buffer.receive().shared_storage() == source.shared_storage());
}

TEST_CASE("upload: memory may go while a copy is under way") {
  const std::int64_t live = memory_stats(kGpu).total.live;
  for (int i = 0; i < 10; ++i) {
    {
      UploadBuffer buffer(kGpu);
      buffer.send(Tensor::ones({1000}, DType::float32, Device::cpu));
    }
    const Tensor next = Tensor::full({1000}, 2, DType::float32, kGpu);
    CHECK(next.to_vector<float>() == std::vector<float>(1000, 2));
  }
  CHECK(memory_stats(kGpu).total.live == live);
}

TEST_CASE("upload: a loader's batches on the GPU are those on the CPU, and nobody waits for them") {
  const auto dataset = std::make_shared<SyntheticShapes>(Domain::source, Split::train, 90);
  DataLoaderOptions options{.batch_size = 8, .shuffle = true, .seed = 3};
  const DataLoader on_cpu(dataset, {}, options);
  options.device = kGpu;
  options.workers = 2;
  const DataLoader on_gpu(dataset, {}, options);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    std::vector<Tensor> results;
    const long before = emulation::times_synchronized();
    for (const Batch& batch : on_gpu.epoch(epoch)) {
      CHECK(batch.images.device() == kGpu);
      CHECK(batch.targets.device() == kGpu);
      results.push_back(use(batch));
      results.push_back(batch.targets.clone());
    }
    CHECK(emulation::times_synchronized() == before);
    std::size_t i = 0;
    for (const Batch& batch : on_cpu.epoch(epoch)) {
      CHECK(test::relative_error(results.at(i++).to_vector<double>(),
                                 use(batch).to_vector<double>()) <= 1e-6);
      CHECK(results.at(i++).to_vector<double>() == batch.targets.to_vector<double>());
    }
    CHECK(i == results.size());
  }
}

TEST_CASE("a resident data set gives the CPU's very batches, and nobody waits for them") {
  const auto dataset = std::make_shared<SyntheticShapes>(Domain::source, Split::train, 70);
  DataLoaderOptions options{.batch_size = 16, .shuffle = true, .seed = 3};
  const Compose transform = cifar_train(synthetic_shapes_statistics());
  const DataLoader on_cpu(dataset, transform, options);
  options.device = kGpu;
  options.resident = true;
  const DataLoader on_gpu(dataset, transform, options);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    DataLoader::Epoch batches = on_gpu.epoch(epoch);
    const long before = emulation::times_synchronized();
    std::vector<Batch> made;
    while (std::optional<Batch> batch = batches.next()) made.push_back(*batch);
    CHECK(emulation::times_synchronized() == before);
    std::size_t i = 0;
    for (const Batch& batch : on_cpu.epoch(epoch)) {
      CHECK(made.at(i).images.device() == kGpu);
      CHECK(made[i].images.to_vector<float>() == batch.images.to_vector<float>());
      CHECK(made[i].targets.to_vector<double>() == batch.targets.to_vector<double>());
      ++i;
    }
    CHECK(i == made.size());
  }
}
