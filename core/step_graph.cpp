#include "attune/core/step_graph.h"

#include <optional>
#include <utility>
#include <vector>

#include "attune/core/error.h"
#include "attune/core/format_text.h"
#include "attune/core/tensor.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/elementwise.h"

namespace attune {
namespace {

constexpr std::int64_t kMostNumbers = 512;

/// A number on the device, and where it comes from.
struct Number {
  std::int64_t* on_device;
  std::function<std::int64_t()> now;
  std::optional<std::int64_t> written = {};
};

thread_local StepRecording* present = nullptr;

}  // namespace

struct StepRecording {
  explicit StepRecording(Device device)
      : places(Tensor::empty({kMostNumbers}, DType::int64, device)) {}

  // Before the graph's memory is chosen: parts of that serve for one thing after another within a
  // step, while these are written once before it.
  Tensor places;
  std::vector<Number> numbers;
  std::vector<std::function<void()>> actions;
  std::vector<std::weak_ptr<Storage>> written;
  kernels::cuda::Graph graph;

  /// What the step does on the host.
  void act() {
    for (const auto& action : actions) action();
    for (const auto& storage : written) {
      if (const auto alive = storage.lock()) alive->bump_version();
    }
  }

  void write_numbers() {
    for (Number& number : numbers) {
      const std::int64_t bits = number.now();
      if (number.written == bits) continue;
      kernels::fill(places.device(), number.on_device, bits, 1);
      number.written = bits;
    }
  }
};

StepGraph::StepGraph(Device device, std::function<void()> step)
    : device_(device), step_(std::move(step)) {}

StepGraph::~StepGraph() = default;

void StepGraph::run() {
  if (device_.type != DeviceType::cuda || !has_run_) {
    step_();
    has_run_ = true;
    return;
  }
  kernels::cuda::use_device(device_.index, "StepGraph");
  if (recording_) {
    recording_->act();
  } else {
    record();
  }
  recording_->write_numbers();
  recording_->graph.launch();
}

void StepGraph::record() {
  if (present != nullptr) throw Error("StepGraph: a recorded step cannot record another one");
  auto recording = std::make_unique<StepRecording>(device_);
  present = recording.get();
  try {
    step_();
  } catch (...) {
    present = nullptr;
    throw;
  }
  present = nullptr;
  recording->graph.finish();
  std::erase_if(recording->written, [](const auto& storage) { return storage.expired(); });
  recording_ = std::move(recording);
}

bool recording_step() { return present != nullptr; }

void before_replay(std::function<void()> action) {
  if (present != nullptr) present->actions.push_back(std::move(action));
}

void before_replay_writes(const std::shared_ptr<Storage>& storage) {
  if (present != nullptr) present->written.push_back(storage);
}

const void* recorded_value(std::function<std::int64_t()> now) {
  const auto position = std::ssize(present->numbers);
  if (position == kMostNumbers) {
    throw Error(
        format_text("StepGraph: more than {} numbers change from step to step", kMostNumbers));
  }
  std::int64_t* place = present->places.mutable_data<std::int64_t>() + position;
  present->numbers.push_back({place, std::move(now)});
  return place;
}

}  // namespace attune
