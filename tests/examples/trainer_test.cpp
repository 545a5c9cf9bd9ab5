// A training run that is interrupted anywhere and taken up again ends with the same bits.

#include "train_resnet/trainer.h"

#include <attune/core/checkpoint.h>

#include <csignal>
#include <cstring>
#include <memory>

#include "attune/core/error.h"
#include "support/interrupt.h"
#include "tests/examples/run_program.h"
#include "tests/test_util.h"

using namespace attune;
using namespace attune::examples;
using namespace attune::test;

namespace {

enum class Break { interrupt, error };

/// A data set that asks the program to stop when its image number `last` is loaded, or cannot load
/// it.
class Breaking final : public Dataset {
 public:
  Breaking(std::shared_ptr<const Dataset> images, std::int64_t last, Break kind)
      : images_(std::move(images)), left_(last), kind_(kind) {}

  std::int64_t size() const override { return images_->size(); }
  const std::vector<std::string>& classes() const override { return images_->classes(); }
  ImageSize image_size() const override { return images_->image_size(); }
  std::string sample_name(std::int64_t index) const override { return images_->sample_name(index); }
  std::int64_t label(std::int64_t index) const override { return images_->label(index); }
  void load(std::int64_t index, ByteImage& image) const override {
    images_->load(index, image);
    if (--left_ > 0) return;
    if (kind_ == Break::error) throw Error("unreadable");
    if (left_ == 0) std::raise(SIGINT);
  }

 private:
  std::shared_ptr<const Dataset> images_;
  mutable std::int64_t left_;
  Break kind_;
};

constexpr std::int64_t kBatch = 4, kImages = 12, kEpochs = 3;

TrainOptions options_for(const RunDirectory& directory, const std::string& out) {
  TrainOptions options;
  options.run.limit = kImages;
  options.run.batch_size = kBatch;
  options.run.workers = 0;
  options.run.progress = ProgressStyle::off;
  options.run.out = directory / out;
  options.epochs = kEpochs;
  options.lr = 0.02;
  std::filesystem::create_directories(options.run.out);
  return options;
}

/// Weights that depend on `seed`; a run that continues must overwrite all of them.
std::shared_ptr<ResNet> small_net(const TrainOptions& options, const Task& task,
                                  std::uint64_t seed) {
  manual_seed(seed);
  auto net = std::make_shared<ResNet>(ResNetOptions{
      .depths = {1, 1}, .width = 2, .stem = ResNetStem::cifar, .classes = task.classes()});
  if (options.run.use_double) net->to(DType::float64);
  return net;
}

void ignore(std::size_t, const EpochResult&) {}

/// What a run leaves, but for the time it took.
void check_same_end(const TrainOptions& whole, const TrainOptions& parts) {
  const auto file = [](const TrainOptions& options, const char* name) {
    return options.run.out / name;
  };
  CHECK(content(file(whole, Trainer::kWeightsFile)) == content(file(parts, Trainer::kWeightsFile)));
  const Checkpoint a = load_checkpoint(file(whole, Trainer::kCheckpointFile));
  const Checkpoint b = load_checkpoint(file(parts, Trainer::kCheckpointFile));
  for (const auto member : {&Checkpoint::model, &Checkpoint::optimizer, &Checkpoint::ema}) {
    REQUIRE((a.*member).size() == (b.*member).size());
    for (std::size_t i = 0; i < (a.*member).size(); ++i) {
      const auto& [name, tensor] = (a.*member)[i];
      INFO(name);
      CHECK((b.*member)[i].first == name);
      CHECK(std::memcmp(tensor.storage().data(), (b.*member)[i].second.storage().data(),
                        static_cast<std::size_t>(tensor.bytes())) == 0);
    }
  }
  CHECK(a.random.seed == b.random.seed);
  CHECK(a.random.uses == b.random.uses);
  CHECK(a.epoch == kEpochs);
  CHECK(b.epoch == kEpochs);
  CHECK(a.step == b.step);
  const auto without_times = [](const std::string& run) {
    nlohmann::json json = nlohmann::json::parse(run);
    json.erase("seconds");
    for (nlohmann::json& epoch : json["epochs"]) epoch.erase(3);
    return json;
  };
  CHECK(without_times(a.run) == without_times(b.run));
}

/// One run without a break, then one with a break at each of `loads` images, which is continued.
void check_breaks(const RunDirectory& directory, const TrainOptions& whole,
                  const std::vector<std::int64_t>& loads, bool while_testing,
                  Break kind = Break::interrupt) {
  const Task task = open_task(whole.run);
  const InterruptGuard guard;
  Trainer trainer(small_net(whole, task, 1), task, whole);
  trainer.run(ignore);
  REQUIRE(trainer.epochs().size() == kEpochs);

  for (const std::int64_t load : loads) {
    INFO("interrupted at load " << load << (while_testing ? " of the test" : ""));
    TrainOptions parts = whole;
    parts.run.out = directory / "parts";
    std::filesystem::remove_all(parts.run.out);
    std::filesystem::create_directories(parts.run.out);
    const auto file = parts.run.out / Trainer::kCheckpointFile;
    {
      Task breaking = task;
      auto& set = while_testing ? breaking.test : breaking.train;
      set = std::make_shared<Breaking>(set, load, kind);
      const InterruptGuard inner;
      Trainer first(small_net(parts, task, 1), breaking, parts);
      if (kind == Break::interrupt) {
        first.run(ignore);
        REQUIRE(interrupted());
      } else {
        REQUIRE_THROWS_AS(first.run(ignore), Error);
      }
      CHECK(first.epochs().size() < kEpochs);
      const std::int64_t batches = (load - 1) / kBatch;
      if (!while_testing) CHECK(first.steps() == batches);
      CHECK(std::filesystem::exists(file) == (first.steps() > 0));
    }
    const InterruptGuard inner;
    Trainer second(small_net(parts, task, 2), task, parts);
    if (!std::filesystem::exists(file)) continue;
    second.resume(file);
    second.run(ignore);
    check_same_end(whole, parts);
  }
}

}  // namespace

TEST_CASE("an interrupted run continues bit for bit") {
  const RunDirectory directory;
  const TrainOptions options = options_for(directory, "whole");
  // Before the first step, between all others, at the boundaries of epochs and within them.
  std::vector<std::int64_t> loads;
  for (std::int64_t step = 0; step < kEpochs * kImages / kBatch; ++step) {
    loads.push_back(step * kBatch + 1);
  }
  check_breaks(directory, options, loads, false);
}

TEST_CASE("so does one that was interrupted while it tested") {
  const RunDirectory directory;
  check_breaks(directory, options_for(directory, "whole"), {1, kImages, kImages + 1, 3 * kImages},
               true);
}

TEST_CASE("so does one with averaged weights, in double precision") {
  const RunDirectory directory;
  TrainOptions options = options_for(directory, "whole");
  options.ema = 0.9;
  options.run.use_double = true;
  options.label_smoothing = 0.1;
  options.momentum = 0;
  check_breaks(directory, options, {2 * kBatch, kImages + 1, 7 * kBatch + 1}, false);
  check_breaks(directory, options, {2 * kImages}, true);
}

TEST_CASE("so does one that met an image it could not read, once that is mended") {
  const RunDirectory directory;
  TrainOptions options = options_for(directory, "whole");
  options.ema = 0.9;
  check_breaks(directory, options, {1, kBatch + 1, kImages + 1}, false, Break::error);
  check_breaks(directory, options, {1, kImages + 2}, true, Break::error);
}

TEST_CASE("so does one in any mode") {
  for (const Mode mode : {Mode::eval, Mode::tune, Mode::deploy}) {
    INFO(to_string(mode));
    const RunDirectory directory;
    TrainOptions options = options_for(directory, "whole");
    options.mode = mode;
    options.lr = 1e-3;
    check_breaks(directory, options, {2 * kBatch, kImages + 1}, false);
  }
}

TEST_CASE("a run continues only with the settings it began with") {
  const RunDirectory directory;
  const TrainOptions options = options_for(directory, "run");
  const Task task = open_task(options.run);
  const auto file = options.run.out / Trainer::kCheckpointFile;
  Trainer trainer(small_net(options, task, 1), task, options);
  trainer.run(ignore);
  CHECK(trainer.place() == "its end");
  const auto error = [&](auto&& change) {
    TrainOptions other = options;
    change(other);
    const Task other_task = open_task(other.run);
    Trainer again(small_net(other, other_task, 1), other_task, other);
    return message_of<Error>([&] { again.resume(file); });
  };
  const std::string start = file.string() + ": the run that wrote it has ";
  CHECK(error([](TrainOptions&) {}).empty());
  CHECK(error([](TrainOptions& o) { o.lr = 0.1; }) == start + "lr 0.02, this one 0.1");
  CHECK(error([](TrainOptions& o) { o.epochs = 4; }) == start + "epochs 3, this one 4");
  CHECK(error([](TrainOptions& o) { o.mode = Mode::tune; }) ==
        start + "mode \"train\", this one \"tune\"");
  CHECK(error([](TrainOptions& o) { o.run.limit = 16; }) == start + "images 12, this one 16");
  CHECK(error([](TrainOptions& o) { o.run.seed = 2; }) == start + "seed 1, this one 2");
  CHECK(error([](TrainOptions& o) { o.ema = 0.5; }) == start + "ema 0.0, this one 0.5");
  CHECK(error([](TrainOptions& o) { o.run.use_double = true; }) ==
        start + "dtype \"float32\", this one \"float64\"");
  // What no result depends on.
  CHECK(error([](TrainOptions& o) { o.run.workers = 2; }).empty());
  CHECK(error([](TrainOptions& o) { o.run.resident = true; }).empty());
  CHECK(error([](TrainOptions& o) { o.run.cuda_graph = true; }).empty());
  CHECK(error([](TrainOptions& o) { o.checkpoint_every = 1; }).empty());

  save_checkpoint(file, {.model = {}, .run = "{}"});
  CHECK(error([](TrainOptions&) {}).find("this is no checkpoint of train_resnet") !=
        std::string::npos);
}
