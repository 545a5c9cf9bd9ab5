#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "compare_modes/comparison.h"
#include "support/text_table.h"

namespace attune::examples {

/// One row a mode: accuracies, final loss, time and memory, the last two also as ratios to Eval.
Table result_table(const Comparison& comparison);

/// What the columns of the table mean.
std::string table_legend();

/// How the networks were trained, in a sentence.
std::string settings_text(const Comparison& comparison, const CompareOptions& options);

/// The table and the sentences around it, for a terminal.
std::string to_text(const Comparison& comparison, const CompareOptions& options);

/// {"settings": {...}, "modes": {"tune": {"ms": median of a step, "saved_bytes", "peak_bytes",
/// "loss": [one a step], "accuracy_before", "accuracy_after", ...}, ...}, ...}. What was not
/// measured is null.
nlohmann::json to_json(const Comparison& comparison, const CompareOptions& options);

/// A page with charts.
std::string to_html(const Comparison& comparison, const CompareOptions& options);

}  // namespace attune::examples
