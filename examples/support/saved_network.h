#pragma once

#include <attune/layers/models/image_classifier.h>
#include <attune/layers/weights.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/model_options.h"

namespace attune::examples {

/// A network as a file has it, and what the file says about it.
struct SavedNetwork {
  std::shared_ptr<ImageClassifier>
      net;  ///< deployed if the file is, else in Mode::eval; no dropout
  bool deployed = false;
  std::string name;  ///< "resnet20"
  Stem stem = Stem::cifar;
  std::int64_t side = 0;  ///< of its images, in pixels
  /// Names, in the order of the outputs; empty: the file does not say.
  std::vector<std::string> classes;
  /// How its images are normalised; none: the file does not say.
  std::optional<ChannelStatistics> normalize;
  /// The file's, completed by what options say: describes the network wherever it is saved again.
  SafetensorsMetadata metadata;
};

/// Opens the file of --init. What options leave open is the file's "attune.net", "attune.shortcut"
/// and "attune.stem", or else the usual; the number of classes is that of its last layer. Throws
/// Error if the file does not fit, with the options with which it would.
SavedNetwork open_network(const ModelOptions& options);

/// Puts the network into a mode, deploying or undeploying it if need be.
void use_mode(SavedNetwork& network, Mode mode);

/// "daisy", or "class 3" if nobody knows the names.
std::string class_name(const std::vector<std::string>& classes, std::int64_t index);

}  // namespace attune::examples
