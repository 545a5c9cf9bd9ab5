#pragma once

#include <cstdint>
#include <vector>

#include "compare_modes/comparison.h"
#include "paper/claim.h"
#include "paper/lab.h"

namespace attune::examples {

/// A part of the target task: that share of its training images, drawn by `seed`, and at most so
/// many test images (0: all).
Task part_of_target(Lab& lab, double share, std::uint64_t seed, std::int64_t test_images = 0);

/// Fine-tunes copies of the pretrained network on `target` side by side (fine_tune of
/// compare_modes), with a classifier that the seed of `options` draws. One row each: "mode"
/// ("tune", or "tune, fixed affine"), "before" and "accuracy" (null if it diverged), "loss" (mean
/// of the last ten steps), "diverged", "ms", "saved_bytes" and "peak_bytes".
std::vector<Row> fine_tuned_rows(Lab& lab, const Task& target, CompareOptions options);

/// What a table says of one mode's runs, one a seed, beside Eval's: these columns.
inline const std::vector<std::string> kOutcomeColumns{"seeds", "accuracy", "time / Eval",
                                                      "kept, MiB", "peak, MiB"};
std::vector<std::string> outcome_cells(const std::vector<Row>& runs, const std::vector<Row>& eval);

}  // namespace attune::examples
