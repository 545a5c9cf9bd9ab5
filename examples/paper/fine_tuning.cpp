#include "paper/fine_tuning.h"

#include <attune/core/random.h>
#include <fmt/format.h>

#include <cstddef>
#include <utility>

#include "paper/rows.h"

namespace attune::examples {

Task part_of_target(Lab& lab, double share, std::uint64_t seed, std::int64_t test_images) {
  Task task = lab.transfer().target;
  if (share < 1) task.train = Subset::fraction(task.train, 0, share, seed);
  if (test_images > 0 && test_images < task.test->size()) {
    const double part = static_cast<double>(test_images) / static_cast<double>(task.test->size());
    task.test = Subset::fraction(task.test, 0, part, 1);
  }
  return task;
}

std::vector<Row> fine_tuned_rows(Lab& lab, const Task& target, CompareOptions options) {
  options.run.init = lab.pretrained(options.run.net);
  options.run.replace_head = true;
  manual_seed(options.run.seed);
  const Comparison comparison =
      fine_tune(read_pretrained(target, options), target, options,
                [](std::int64_t, const ModeResult&, const StepResult&) {});
  std::vector<Row> rows;
  for (const ModeResult& result : comparison.modes) {
    rows.push_back({{"mode", std::string(to_string(result.mode)) +
                                 (result.fixed_affine ? ", fixed affine" : "")},
                    {"before", result.accuracy_before},
                    {"accuracy", result.accuracy_after},
                    {"loss", result.final_loss()},
                    {"diverged", result.diverged},
                    {"ms", result.step_milliseconds()},
                    {"saved_bytes", result.memory.saved_bytes},
                    {"peak_bytes", result.memory.peak_bytes}});
  }
  return rows;
}

Report::NamedTable outcome_table(std::vector<std::string> names) {
  for (const char* const column : {"seeds", "accuracy", "time / Eval", "kept, MiB", "peak, MiB"}) {
    names.emplace_back(column);
  }
  return {
      "Test accuracy on the target (mean ± deviation over the seeds), time of a step relative to "
      "Eval's, and memory of a step:",
      {std::move(names), {}}};
}

void add_outcome(Report::NamedTable& table, std::vector<std::string> names,
                 const std::vector<Row>& runs, const std::vector<Row>& eval) {
  const std::vector<std::string> outcome{std::to_string(runs.size()),
                                         percent(spread(runs, "accuracy")),
                                         fmt::format("{:.2f}", time_ratio(runs, eval)),
                                         mebibytes(runs[0]["saved_bytes"].get<std::int64_t>()),
                                         mebibytes(runs[0]["peak_bytes"].get<std::int64_t>())};
  names.insert(names.end(), outcome.begin(), outcome.end());
  table.table.rows.push_back(std::move(names));
}

}  // namespace attune::examples
