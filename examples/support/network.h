#pragma once

#include <attune/layers/models/image_classifier.h>
#include <attune/layers/models/resnet.h>
#include <attune/layers/weights.h>

#include <memory>
#include <string>

#include "support/command_line.h"
#include "support/prediction.h"
#include "support/tasks.h"

namespace attune::examples {

/// A network for a task, and where its weights come from, for the log.
struct Network {
  std::shared_ptr<ImageClassifier> net;
  std::string origin;  ///< "from scratch", or "from <file>", with what became of the head
};

/// The network called `name`, with the shortcut that --shortcut asks for. Throws UsageError if it
/// has none.
std::shared_ptr<ImageClassifier> make_network(const std::string& name, const ModelVariant& variant,
                                              ResNetShortcut shortcut);

/// What --net, --shortcut, --double and --recompute ask for, with as many classes as the task has;
/// with --init, the weights of that file, which may be deployed: they are unfolded then. In
/// Mode::train. Throws Error, with the option that may help, if the file does not fit.
Network build_network(const Task& task, const RunOptions& options);

/// What a step of such a run keeps for the backward pass, whatever its weights. Uses up random
/// streams, as building networks does.
ModeReports predict_reports(const Task& task, const RunOptions& options);

/// What a program that opens the weights of a network has to know to use it (SaveOptions):
/// "attune.net", "attune.shortcut", "attune.stem", in JSON "attune.classes", the names, and
/// "attune.normalize", as --normalize takes it.
SafetensorsMetadata describe_network(const Task& task, const RunOptions& options);

}  // namespace attune::examples
