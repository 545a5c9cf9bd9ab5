#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <memory>

#include "attune/core/device.h"
#include "attune/kernels/step_value.h"  // IWYU pragma: export

namespace attune {

class Storage;
struct StepRecording;

/// A training step that is done many times. Small kernels take a GPU less time than it takes to
/// launch them one by one, so a GPU records what the step launches, and repeats it as a whole:
///
///     Tensor loss;
///     StepGraph step(device, [&] {
///       optimizer.zero_grad();
///       loss = softmax_cross_entropy((*net)(images), targets);
///       loss.backward();
///       optimizer.step();
///     });
///     for (...) {
///       images.copy_(batch.images);  // the same tensors each time
///       targets.copy_(batch.targets);
///       optimizer.set_lr_factor(schedule(i));
///       step.run();
///     }
///
/// The result is that of calling the step each time, bit for bit. The first run() does call it, so
/// that all which is made once is there; the second calls it and records; later ones repeat. The
/// learning rate, the counters of an optimizer and the streams of dropout go on from run to run.
/// On other devices each run() calls the step.
///
/// The step must be the same each time, in shapes and in what it does, and must not wait for the
/// GPU (item(), to_vector(), tensors from the host): the second run() then throws Error. What it
/// reads or changes has to live as long as the StepGraph, where it is: in particular the optimizer,
/// and gradients that it adds to. Its own results, such as `loss`, are overwritten by each run().
/// The memory of the recorded step stays reserved. While run() records, no other thread may use
/// the device.
class StepGraph {
 public:
  StepGraph(Device device, std::function<void()> step);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  void run();

 private:
  void record();

  Device device_;
  std::function<void()> step_;
  bool has_run_ = false;
  std::unique_ptr<StepRecording> recording_;
};

// ---- For operations that do more than launch kernels ----

/// Whether this thread is within a step that is being recorded.
bool recording_step();

/// While a step is being recorded: has `action` called before each of its repetitions. It does what
/// the step did on the host: counts, draws numbers. Does nothing otherwise.
void before_replay(std::function<void()> action);

/// While a step is being recorded: each of its repetitions writes to `storage`, and gives it
/// another version.
void before_replay_writes(const std::shared_ptr<Storage>& storage);

/// While a step is being recorded: where its kernels find the 8 bytes that `now` returns, asked
/// before each repetition, after all actions.
const void* recorded_value(std::function<std::int64_t()> now);

/// The number that now() returns, for kernels of a step that may be recorded. T has 8 bytes.
template <typename T, typename F>
kernels::StepValue<T> step_value(const F& now) {
  const T value = now();
  if (!recording_step()) return value;
  const auto bits = [now] { return std::bit_cast<std::int64_t>(static_cast<T>(now())); };
  return {value, static_cast<const T*>(recorded_value(bits))};
}

}  // namespace attune
