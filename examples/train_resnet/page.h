#pragma once

#include <string>
#include <vector>

#include "support/prediction.h"
#include "train_resnet/trainer.h"

namespace attune::examples {

/// What there is to say about a run.
struct TrainingReport {
  std::string task;
  std::string origin;  ///< "from scratch", or "from <file>"
  std::vector<EpochResult> epochs;
  ModeReports kept;                    ///< for backward, layer by layer, in each mode
  std::vector<double> squared_scales;  ///< of every channel
  bool interrupted = false;
};

/// A page with charts: how the run went, what it kept in memory, and why it had better not be run
/// in Deploy.
std::string to_html(const TrainingReport& report, const TrainOptions& options);

}  // namespace attune::examples
