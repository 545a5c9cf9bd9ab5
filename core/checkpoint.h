#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "attune/core/random.h"
#include "attune/core/safetensors.h"

namespace attune {

/// All that a training run needs to go on as if nothing had happened. The tensors are those that
/// Module::state_dict(), Optimizer::state() and Ema::state() give, and that their counterparts
/// take. A schedule is a function of `step`, and a batch one of the loader's seed, `epoch` and
/// `batch`: DataLoader::epoch(epoch, batch) goes on where the run was.
///
///     save_checkpoint(path, {.model = net.state_dict(), .optimizer = sgd.state(),
///                            .random = default_generator(), .epoch = epoch, .step = step});
struct Checkpoint {
  NamedTensors model;
  NamedTensors optimizer = {};
  NamedTensors ema = {};  ///< empty: there is none
  Generator random = {};  ///< of default_generator()
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  ///< batches of the epoch that are done
  std::int64_t step = 0;   ///< optimizer steps that are done
  /// Whatever else the program wants back, usually JSON: its settings, what it has measured.
  std::string run = {};
  /// What others may want to know about the network, as in a file of weights (SaveOptions).
  SafetensorsMetadata metadata = {};
};

/// Writes a checkpoint as one safetensors file, in one step (write_safetensors): a process that is
/// killed leaves the old file or the new one, both complete. The counters are JSON under
/// "attune.checkpoint" in the metadata, `run` is "attune.run", beside `metadata`. The tensors are
/// called "model.*" (in PyTorch's layout, so that load_weights() and Python read it as well),
/// "optimizer.*" and "ema.*".
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

/// Throws Error naming the file if it is no checkpoint, or one of a later format.
Checkpoint load_checkpoint(const std::filesystem::path& path);

bool is_checkpoint(const SafetensorsFile& file);
/// The network in a checkpoint, under its own names and still in PyTorch's layout.
NamedTensors checkpoint_model(const SafetensorsFile& file);

}  // namespace attune
