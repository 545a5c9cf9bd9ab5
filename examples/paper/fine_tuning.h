#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compare_modes/comparison.h"
#include "paper/claim.h"
#include "paper/lab.h"

namespace attune::examples {

/// A part of the target task: that share of its training images, drawn by `seed`, and at most so
/// many test images (0: all).
Task part_of_target(Lab& lab, double share, std::uint64_t seed, std::int64_t test_images = 0);

/// Fine-tunes copies of the network that `options` name, pretrained, on `target` side by side
/// (fine_tune of compare_modes), with a classifier that the seed of `options` draws. One row each:
/// "mode"
/// ("tune", or "tune, fixed affine"), "before" and "accuracy" (null if it diverged), "loss" (mean
/// of the last ten steps), "diverged", "ms", "saved_bytes" and "peak_bytes".
std::vector<Row> fine_tuned_rows(Lab& lab, const Task& target, CompareOptions options);

/// A table of how fine-tuning went, without rows: columns that name the runs, then their outcome.
Report::NamedTable outcome_table(std::vector<std::string> names);
/// Adds the row of one mode's runs, one a seed, beside Eval's.
void add_outcome(Report::NamedTable& table, std::vector<std::string> names,
                 const std::vector<Row>& runs, const std::vector<Row>& eval);

}  // namespace attune::examples
