#include "attune/core/checkpoint.h"

#include <limits>
#include <string>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/data/temporary_directory.h"
#include "tests/test_util.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

void check_same(const NamedTensors& a, const NamedTensors& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].first == b[i].first);
    CHECK(a[i].second.shape() == b[i].second.shape());
    CHECK(a[i].second.dtype() == b[i].second.dtype());
    CHECK(a[i].second.to_vector<double>() == b[i].second.to_vector<double>());
  }
}

}  // namespace

TEST_CASE("checkpoint: everything comes back") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "c.safetensors";
  Generator generator{1, 0};
  const Checkpoint saved{
      .model = {{"a", random_normal({2, 3, 3, 4}, 0, 1, generator)},
                {"b", random_normal({2}, 0, 1, generator)}},
      .optimizer = {{"group0.param0.velocity", random_normal({2, 3, 3, 4}, 0, 1, generator)}},
      .ema = {{"average0", random_normal({2}, 0, 1, generator)}},
      .random = {.seed = std::numeric_limits<std::uint64_t>::max(), .uses = 12},
      .epoch = 3,
      .batch = 17,
      .step = 1'000'000'000'000,
      .run = R"({"any": "text"})",
      .metadata = {{"attune.net", "resnet20"}, {"key", "value"}}};
  save_checkpoint(path, saved);
  const Checkpoint loaded = load_checkpoint(path);
  check_same(loaded.model, saved.model);
  check_same(loaded.optimizer, saved.optimizer);
  check_same(loaded.ema, saved.ema);
  CHECK(loaded.random.seed == saved.random.seed);
  CHECK(loaded.random.uses == 12);
  CHECK(loaded.epoch == 3);
  CHECK(loaded.batch == 17);
  CHECK(loaded.step == 1'000'000'000'000);
  CHECK(loaded.run == saved.run);
  CHECK(loaded.metadata == saved.metadata);
  // The network is stored as PyTorch has it, so that others can use it.
  const SafetensorsFile file = read_safetensors(path);
  CHECK(is_checkpoint(file));
  CHECK(checkpoint_model(file)[0].second.shape() == Shape{2, 4, 3, 3});
}

TEST_CASE("checkpoint: anything else is refused") {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "c.safetensors";
  const auto error = [&](const NamedTensors& tensors, const SafetensorsMetadata& metadata) {
    write_safetensors(path, tensors, metadata);
    return message_of<Error>([&] { load_checkpoint(path); });
  };
  const std::string good =
      R"({"version":1,"epoch":0,"batch":0,"step":0,"random_seed":0,"random_uses":0})";
  CHECK(error({}, {{"attune.checkpoint", good}}).empty());
  CHECK(error({}, {}) == "checkpoint: " + path.string() +
                             ": this is no checkpoint, for its metadata has no attune.checkpoint");
  CHECK(contains(error({}, {{"attune.checkpoint", "{"}}), "parse error"));
  CHECK(contains(error({}, {{"attune.checkpoint", "{}"}}), "'version' not found"));
  CHECK(contains(error({}, {{"attune.checkpoint", R"({"version":2})"}}), "its format is number 2"));
  CHECK(contains(error({}, {{"attune.checkpoint", R"({"version":1,"epoch":-1})"}}), "epoch is -1"));
  CHECK(contains(error({}, {{"attune.checkpoint", R"({"version":1,"epoch":"1"})"}}), "must be"));
  CHECK(contains(error({{"other", Tensor::ones({1})}}, {{"attune.checkpoint", good}}),
                 "a tensor belongs to none of model.*, optimizer.*, ema.*"));
}
