#pragma once

#include <attune/data/data_loader.h>
#include <attune/layers/module.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/progress.h"

namespace attune::examples {

/// How a network does on a test set.
struct Evaluation {
  std::vector<std::string> classes;
  /// confusion[t][p]: images of class t whose largest logit is that of p.
  std::vector<std::vector<std::int64_t>> confusion;
  std::int64_t among_five = 0;  ///< images whose class has one of the five largest logits
  double total_loss = 0;        ///< cross-entropy, of all images

  std::int64_t images() const;
  std::int64_t right() const;
  double top1() const;  ///< share of the images
  double top5() const;
  double loss() const;  ///< mean
  /// Images of a class, and the share of them that is named right (NaN if there are none).
  std::int64_t images_of(std::size_t label) const;
  double accuracy_of(std::size_t label) const;
};

/// Runs `net`, as it is, over an epoch of `batches`, recording nothing for backward. Stops early if
/// interrupted(). Where logits are equal, the first counts as larger. Throws Error if the network
/// has other than `classes`.
Evaluation evaluate(Module& net, const DataLoader& batches, const std::vector<std::string>& classes,
                    Progress& progress);

/// The accuracies; then the confusion matrix, or of more than kMaxMatrix classes the pairs most
/// often taken for each other.
std::string to_text(const Evaluation& evaluation);
constexpr std::size_t kMaxMatrix = 20;

/// All of it.
nlohmann::json to_json(const Evaluation& evaluation);

}  // namespace attune::examples
