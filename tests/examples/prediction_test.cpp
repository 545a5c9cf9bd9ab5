// What a training step would keep, predicted without arithmetic.

#include "support/prediction.h"

#include <algorithm>
#include <string>

#include "attune/core/graph_report.h"
#include "attune/core/ops/ops.h"
#include "attune/layers/models/make_model.h"
#include "support/network.h"
#include "tests/catch.h"

using namespace attune;
using namespace attune::examples;

namespace {

const LayerBytes* find(const std::vector<LayerBytes>& layers, const std::string& name) {
  const auto found = std::find_if(layers.begin(), layers.end(),
                                  [&](const LayerBytes& layer) { return layer.name == name; });
  return found == layers.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("predicted bytes are what a step keeps") {
  const NetworkMaker make = [] { return make_model("resnet20"); };
  const auto predicted = predict_saved_bytes(make, 16, 3);
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    const auto net = make();
    if (kModes[i] == Mode::deploy) {
      net->deploy();
    } else {
      net->set_mode(kModes[i]);
    }
    const Tensor x = Tensor::ones({3, 16, 16, 3});
    const Tensor targets = Tensor::zeros({3}, DType::int64);
    CHECK(predicted[i] == saved_bytes(softmax_cross_entropy((*net)(x), targets), {x}));
  }
  CHECK(predicted[2] == predicted[3]);
}

TEST_CASE("the published Tune breaks even where its filters cost less than it saves") {
  CHECK(published_break_even(10, 5, 14) == 3);
  CHECK(published_break_even(10, 5, 15) == 4);  // three images: as much as Eval, no less
  CHECK(published_break_even(10, 5, 0) == 1);
  CHECK(!published_break_even(5, 5, 1));
}

TEST_CASE("what layers keep adds up to the whole, however they are grouped") {
  const auto reports = predict_reports([] { return make_model("resnet20"); }, 32, 4);
  for (const std::size_t most : {100, 20, 6}) {
    INFO("at most " << most);
    const std::vector<LayerBytes> layers = by_layer(reports, most);
    CHECK(layers.size() <= most);
    ModeBytes sums{};
    for (const LayerBytes& layer : layers) {
      CHECK(std::any_of(layer.bytes.begin(), layer.bytes.end(), [](auto n) { return n > 0; }));
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += layer.bytes[i];
    }
    for (std::size_t i = 0; i < sums.size(); ++i) CHECK(sums[i] == reports[i].saved_bytes);
  }
  const std::vector<LayerBytes> fine = by_layer(reports, 100);
  REQUIRE(find(fine, "layer2.1.conv2") != nullptr);
  // A batch of four, 16 x 16 pixels and 32 channels: input and output, or input alone.
  constexpr std::int64_t kInput = std::int64_t{4} * 16 * 16 * 32 * 4;
  CHECK(find(fine, "layer2.1.conv2")->bytes[1] >= kInput);
  CHECK(find(fine, "layer2.1.conv2")->bytes[2] < find(fine, "layer2.1.conv2")->bytes[1]);
  CHECK(find(fine, "softmax_cross_entropy") != nullptr);
  CHECK(find(by_layer(reports, 20), "layer2.1") != nullptr);
  CHECK(find(by_layer(reports, 6), "layer2") != nullptr);
}

TEST_CASE("a run's prediction follows its options") {
  RunOptions options;
  options.limit = 8;
  options.batch_size = 4;
  const Task task = open_task(options);
  const ModeReports single = predict_reports(task, options);
  options.use_double = true;
  const ModeReports twice = predict_reports(task, options);
  options.use_double = false;
  options.recompute = parse_recompute("activations,blocks");
  const ModeReports again = predict_reports(task, options);
  CHECK(twice[2].saved_bytes > 19 * single[2].saved_bytes / 10);
  CHECK(again[2].saved_bytes < single[2].saved_bytes);
}
