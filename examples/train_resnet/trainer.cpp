#include "train_resnet/trainer.h"

#include <attune/core/checkpoint.h>
#include <attune/core/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>

#include "support/figures.h"
#include "support/interrupt.h"
#include "support/output_files.h"
#include "support/progress.h"
#include "support/text_table.h"

namespace attune::examples {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// What may differ between a run and its continuation, for no result depends on it: where things
/// are, and how fast they are done. The task's name and size stand for its place.
constexpr std::array kFree{"version",    "threads", "workers", "resident",
                           "cuda_graph", "data",    "init"};

SgdOptions sgd_options(const TrainOptions& options) {
  return {.lr = options.chosen_lr(),
          .momentum = options.momentum,
          .weight_decay = options.weight_decay,
          .nesterov = options.momentum > 0};
}

Module& in_mode(Module& net, Mode mode) {
  if (mode == Mode::deploy) {
    net.deploy();
  } else {
    net.set_mode(mode);
  }
  return net;
}

/// What is averaged: all that the network computes with.
std::vector<Tensor> averaged_tensors(const Module& net) {
  std::vector<Tensor> tensors = net.parameters();
  for (const auto& [name, buffer] : net.named_buffers()) {
    if (is_floating(buffer.dtype())) tensors.push_back(buffer);
  }
  return tensors;
}

nlohmann::json to_json(const EpochResult& epoch) {
  return {epoch.train_loss, epoch.test_accuracy, epoch.last_lr, epoch.train_seconds};
}

EpochResult epoch_from(const nlohmann::json& json) {
  return {.train_loss = json.at(0),
          .test_accuracy = json.at(1),
          .last_lr = json.at(2),
          .train_seconds = json.at(3)};
}

void check_settings(const nlohmann::json& theirs, const nlohmann::json& ours,
                    const std::string& file) {
  for (const auto& [name, value] : ours.items()) {
    if (std::find(kFree.begin(), kFree.end(), name) != kFree.end()) continue;
    const nlohmann::json& other = theirs.at(name);
    if (other == value) continue;
    throw Error(fmt::format("{}: the run that wrote it has {} {}, this one {}", file, name,
                            other.dump(), value.dump()));
  }
}

/// While it lives, the network has the averaged weights, if there are any.
class Averaged {
 public:
  explicit Averaged(std::optional<Ema>& ema) : ema_(ema) {
    if (ema_) ema_->swap();
  }
  ~Averaged() {
    if (ema_) ema_->swap();
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  std::optional<Ema>& ema_;
};

}  // namespace

Trainer::Trainer(std::shared_ptr<Module> net, const Task& task, const TrainOptions& options)
    : net_(std::move(net)),
      task_(task),
      options_(options),
      batches_(training_batches(task, options.run)),
      test_(test_batches(task, options.run)),
      optimizer_(in_mode(*net_, options.chosen_mode()).parameters(), sgd_options(options)),
      schedule_(one_cycle(options.epochs * batches_.batches())) {
  if (options.ema > 0) ema_.emplace(averaged_tensors(*net_), EmaOptions{.decay = options.ema});
}

// ---- Training ----

void Trainer::run(const Observer& observe) {
  try {
    run_epochs(observe);
  } catch (const Error&) {
    // An image that cannot be read, say. What has been learnt until then is not lost.
    if (has_folder() && position_.step > 0 && !within_step_) save();
    throw;
  }
  if (interrupted() && has_folder() && position_.step > 0) save();
}

void Trainer::run_epochs(const Observer& observe) {
  TrainingStep step(*net_, optimizer_,
                    {.label_smoothing = options_.label_smoothing,
                     .ema = ema_ ? &*ema_ : nullptr,
                     .cuda_graph = options_.run.cuda_graph});
  while (position_.epoch() < options_.epochs && !interrupted()) {
    const bool complete = train_epoch(step);
    const double accuracy = complete ? test_accuracy() : kNotMeasured;
    if (std::isnan(accuracy)) break;
    EpochResult result = present_epoch();
    result.test_accuracy = accuracy;
    position_.epochs.push_back(result);
    position_.batch = 0;
    position_.total_loss = 0;
    if (has_folder()) {
      save_weights_of_epoch();
      save();
    }
    observe(position_.epochs.size(), result);
  }
}

bool Trainer::train_epoch(TrainingStep& step) {
  const auto start = std::chrono::steady_clock::now();
  const double seconds_before = position_.seconds;
  Progress progress(fmt::format("epoch {}/{}", position_.epoch() + 1, options_.epochs),
                    batches_.batches(), "steps", options_.run.progress);
  progress.advance(position_.batch);
  std::optional<ProfileScope> recording;  // waiting for batches included, testing not
  for (const Batch& batch : batches_.epoch(position_.epoch(), position_.batch)) {
    if (interrupted()) break;
    if (options_.run.profile && steps_here_ >= kProfileWarmUp && !recording) {
      recording.emplace(profile_);
    }
    train_batch(step, batch);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    position_.seconds = seconds_before + spent.count();
    progress.advance(1, "loss " + loss_text(present_epoch().train_loss));
    const std::int64_t every = options_.checkpoint_every;
    if (has_folder() && every > 0 && position_.step % every == 0) save();
  }
  progress.finish();
  return position_.batch == batches_.batches();
}

void Trainer::train_batch(TrainingStep& step, const Batch& batch) {
  within_step_ = true;
  optimizer_.set_lr_factor(schedule_(position_.step));
  const StepResult result = step.run(batch);
  if (!result.finite()) {
    throw Diverged(
        fmt::format("training diverged: the loss of step {} is {} (try a smaller --lr than {:g})",
                    position_.step, loss_text(result.loss), options_.chosen_lr()));
  }
  position_.total_loss += result.loss;
  ++position_.batch;
  ++position_.step;
  ++steps_here_;
  within_step_ = false;
}

double Trainer::test_accuracy() {
  const bool batch_statistics = options_.chosen_mode() == Mode::train;
  if (batch_statistics) net_->set_mode(Mode::eval);
  const Averaged averaged(ema_);
  Progress testing("test", task_.test->size(), "images", options_.run.progress);
  const double tested = accuracy(*net_, test_, testing);
  testing.finish();
  if (batch_statistics) net_->set_mode(Mode::train);
  return tested;
}

// ---- What is reported ----

EpochResult Trainer::present_epoch() const {
  return {.train_loss = position_.total_loss / static_cast<double>(position_.batch),
          .test_accuracy = kNotMeasured,
          .last_lr = optimizer_.lr(),
          .train_seconds = position_.seconds};
}

std::vector<EpochResult> Trainer::results() const {
  std::vector<EpochResult> results = position_.epochs;
  if (position_.batch > 0) results.push_back(present_epoch());
  return results;
}

std::string Trainer::place() const {
  if (position_.epoch() == options_.epochs) return "its end";
  return fmt::format("epoch {}, batch {} of {}", position_.epoch() + 1, position_.batch + 1,
                     batches_.batches());
}

std::vector<double> Trainer::squared_scales() {
  const Averaged averaged(ema_);
  return examples::squared_scales(*net_);
}

nlohmann::json Trainer::settings() const {
  nlohmann::json settings = settings_json(options_.run);
  settings.update({{"program", "train_resnet"},
                   {"task", task_.name},
                   {"images", task_.train->size()},
                   {"epochs", options_.epochs},
                   {"lr", options_.chosen_lr()},
                   {"momentum", options_.momentum},
                   {"weight_decay", options_.weight_decay},
                   {"label_smoothing", options_.label_smoothing},
                   {"ema", options_.ema},
                   {"mode", to_string(options_.chosen_mode())}});
  return settings;
}

// ---- Files ----

// The averaged weights, if there are any: those that were tested.
void Trainer::save_weights_of_epoch() {
  const Averaged averaged(ema_);
  save_weights(*net_, options_.run.out / kWeightsFile,
               {.metadata = describe_network(task_, options_.run)});
}

void Trainer::save() const {
  nlohmann::json epochs = nlohmann::json::array();
  for (const EpochResult& epoch : position_.epochs) epochs.push_back(to_json(epoch));
  const nlohmann::json run{{"settings", settings()},
                           {"epochs", epochs},
                           {"total_loss", position_.total_loss},
                           {"seconds", position_.seconds}};
  save_checkpoint(options_.run.out / kCheckpointFile,
                  {.model = net_->state_dict(),
                   .optimizer = optimizer_.state(),
                   .ema = ema_ ? ema_->state() : NamedTensors(),
                   .random = default_generator(),
                   .epoch = position_.epoch(),
                   .batch = position_.batch,
                   .step = position_.step,
                   .run = json_line(run),
                   .metadata = describe_network(task_, options_.run)});
}

void Trainer::resume(const std::filesystem::path& path) {
  const Checkpoint checkpoint = load_checkpoint(path);
  Position position{.batch = checkpoint.batch, .step = checkpoint.step};
  try {
    const nlohmann::json run = nlohmann::json::parse(checkpoint.run);
    check_settings(run.at("settings"), settings(), path.string());
    for (const nlohmann::json& epoch : run.at("epochs")) {
      position.epochs.push_back(epoch_from(epoch));
    }
    position.total_loss = run.at("total_loss");
    position.seconds = run.at("seconds");
  } catch (const nlohmann::json::exception& error) {
    throw Error(
        fmt::format("{}: this is no checkpoint of train_resnet: {}", path.string(), error.what()));
  }
  if (position.epoch() != checkpoint.epoch || position.batch > batches_.batches() ||
      position.step != position.epoch() * batches_.batches() + position.batch) {
    throw Error(fmt::format("{}: its counters disagree: epoch {}, batch {}, step {}", path.string(),
                            checkpoint.epoch, position.batch, position.step));
  }
  net_->load_state_dict(checkpoint.model);
  optimizer_.load_state(checkpoint.optimizer);
  if (ema_) ema_->load_state(checkpoint.ema);
  default_generator() = checkpoint.random;
  position_ = std::move(position);
}

}  // namespace attune::examples
