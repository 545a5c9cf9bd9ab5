// The whole of the library at work: a network learns the generated images, and then their other
// domain.

#include <memory>

#include "attune/core/autograd.h"
#include "attune/core/ops/compare.h"
#include "attune/core/ops/reduce.h"
#include "attune/core/ops/softmax_cross_entropy.h"
#include "attune/data/data_loader.h"
#include "attune/data/synthetic_shapes.h"
#include "attune/data/transforms.h"
#include "attune/layers/models/resnet.h"
#include "attune/optim/lr_schedule.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"

using namespace attune;

namespace {

DataLoader training_batches(Domain domain, std::int64_t images) {
  return {std::make_shared<SyntheticShapes>(domain, Split::train, images),
          cifar_test(synthetic_shapes_statistics()),
          {.batch_size = 16, .shuffle = true, .seed = 1, .workers = 0}};
}

double test_accuracy(Module& net, Domain domain) {
  constexpr std::int64_t kImages = 500;
  const DataLoader batches(std::make_shared<SyntheticShapes>(domain, Split::test, kImages),
                           cifar_test(synthetic_shapes_statistics()),
                           {.batch_size = 100, .workers = 0});
  const NoGradGuard no_grad;
  std::int64_t right = 0;
  for (const Batch& batch : batches.epoch(0)) {
    const Tensor hits = equal(argmax(net(batch.images), 1), batch.targets);
    for (const std::uint8_t hit : hits.to_vector<std::uint8_t>()) right += hit;
  }
  return static_cast<double>(right) / kImages;
}

// One pass over the images.
void train(Module& net, const DataLoader& batches, double rate, const LrSchedule& schedule) {
  Sgd sgd(net.parameters(), {.lr = rate, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true});
  std::int64_t step = 0;
  for (const Batch& batch : batches.epoch(0)) {
    sgd.set_lr_factor(schedule(step++));
    sgd.zero_grad();
    softmax_cross_entropy(net(batch.images), batch.targets).backward();
    sgd.step();
  }
}

}  // namespace

// Chance is 10 %. Measured with SSE, AVX2 and AVX-512: 50 % to 51 % on the source; on the target 14
// % to 18 % before and 40 % to 42 % after. How well the source's classifier does on the target
// depends on rounding (28 % to 47 %), so the second half begins with a new one.
TEST_CASE("a small network learns generated shapes, and their other domain in Tune") {
  Generator generator{1, 0};
  ResNet net({.depths = {2, 2, 2}, .width = 8, .stem = ResNetStem::cifar, .classes = 10},
             generator);
  const DataLoader source = training_batches(Domain::source, 8192);
  train(net, source, 0.1, OneCycleLr(source.batches()));
  net.set_mode(Mode::tune);
  const double source_accuracy = test_accuracy(net, Domain::source);

  net.replace_head(10, generator);
  const double before = test_accuracy(net, Domain::target);
  const DataLoader target = training_batches(Domain::target, 1024);
  train(net, target, 0.03, CosineLr(target.batches()));
  const double after = test_accuracy(net, Domain::target);

  INFO("source " << source_accuracy << ", target " << before << ", then " << after);
  CHECK(source_accuracy >= 0.4);
  CHECK(before <= 0.25);
  CHECK(after >= 0.32);
}
