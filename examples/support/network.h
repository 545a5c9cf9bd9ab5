#pragma once

#include <attune/layers/models/image_classifier.h>
#include <attune/layers/models/resnet.h>
#include <attune/layers/weights.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "support/command_line.h"
#include "support/prediction.h"
#include "support/tasks.h"

namespace attune::examples {

/// Which network: the options --net, --stem and --shortcut.
struct NetworkChoice {
  std::string net;
  Stem stem = Stem::cifar;
  ResNetShortcut shortcut = ResNetShortcut::projection;
};

std::string to_string(Stem stem);
std::string to_string(ResNetShortcut shortcut);

/// What a file of weights says about its network, as far as it does: describe_network()'s
/// "attune.net", "attune.stem", "attune.shortcut" and "attune.size".
struct NetworkDescription {
  std::optional<std::string> net = {};
  std::optional<Stem> stem = {};
  std::optional<ResNetShortcut> shortcut = {};
  std::optional<std::int64_t> side = {};  ///< of its images
};
/// Throws Error, naming the file, if it says something else.
NetworkDescription read_description(const Weights& file);

/// Lets a file of weights, or a checkpoint, decide what --net, --stem and --shortcut leave open.
void follow_description(RunOptions& options, const std::filesystem::path& file);

/// The options with which a file that does not fit would, for the end of an error message:
/// " (it fits --net resnet50)". Empty if no network that is known here fits it.
std::string fitting_options(const Weights& file, const NetworkChoice& choice);

/// A network for a task, and where its weights come from, for the log.
struct Network {
  std::shared_ptr<ImageClassifier> net;
  std::string origin;  ///< "from scratch", or "from <file>", with what became of the head
};

/// The network that is chosen. Throws UsageError if the shortcut is one that it cannot have.
std::shared_ptr<ImageClassifier> make_network(const NetworkChoice& choice, std::int64_t classes);

/// What --net, --shortcut, --double and --recompute ask for, for the task's classes and images;
/// with --init, the weights of that file, which may be deployed: they are unfolded then. In
/// Mode::train. Throws Error, with the option that may help, if the file does not fit.
Network build_network(const Task& task, const RunOptions& options);

/// What a step of such a run keeps for the backward pass, whatever its weights. Uses up random
/// streams, as building networks does.
ModeReports predict_reports(const Task& task, const RunOptions& options);

/// What a program that opens the weights of a network has to know to use it, for SaveOptions and
/// Checkpoint: "attune.net", "attune.shortcut", "attune.stem", "attune.size", the side of its
/// images, in JSON "attune.classes", the names, and "attune.normalize", as --normalize takes it.
SafetensorsMetadata describe_network(const Task& task, const RunOptions& options);

}  // namespace attune::examples
