// Claim: Tune is faster than FrozenBatchNorm, at about its memory, and trains gamma and beta too.

#include "paper/claim.h"
#include "paper/fine_tuning.h"
#include "paper/rows.h"
#include "support/chart.h"

namespace attune::examples {
namespace {

std::vector<Row> measure(Lab& lab, double share, std::int64_t epochs, std::uint64_t seed) {
  const CompareOptions options{.run = lab.run_options(seed),
                               .epochs = epochs,
                               .lr = lab.quick() ? 0.001 : 0.01,
                               .modes = {Mode::eval, Mode::tune},
                               .fixed_affine_modes = {Mode::eval, Mode::tune}};
  return fine_tuned_rows(lab, part_of_target(lab, share, seed), options);
}

std::vector<Experiment> plan(Lab& lab) {
  const double share = lab.quick() ? 0.25 : 0.1;
  const std::int64_t epochs = lab.quick() ? 1 : 4;
  std::vector<Experiment> experiments;
  for (const std::uint64_t seed : lab.seeds()) {
    experiments.push_back({{{"network", lab.pretrained_name()},
                            {"target", lab.transfer().target.name},
                            {"batch", lab.batch()},
                            {"share", share},
                            {"epochs", epochs},
                            {"seed", seed}},
                           [=, &lab] { return measure(lab, share, epochs, seed); }});
  }
  return experiments;
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  Report::NamedTable table = outcome_table({"mode"});
  BarChart chart{.y_title = "MiB", .groups = {"kept for backward", "peak of a step"}};
  const std::vector<Row> eval = where(rows, {{"mode", "eval"}});
  for (const auto& [key, runs] : group_by(rows, {"mode"})) {
    const auto mode = key["mode"].get<std::string>();
    add_outcome(table, {mode}, runs, eval);
    chart.series.push_back(
        {capitalized(mode),
         {number(runs[0], "saved_bytes") / (1 << 20), number(runs[0], "peak_bytes") / (1 << 20)},
         static_cast<int>(chart.series.size())});
  }
  const auto bytes_of = [&](const char* mode) {
    return number(where(rows, {{"mode", mode}}).at(0), "saved_bytes");
  };
  report.findings = {
      {"Tune keeps no more than Eval with a fixed affine map, though it trains gamma and beta",
       bytes_of("tune") <= bytes_of("eval, fixed affine")},
      {"Tune's accuracy is Eval's within the seeds' deviation, or half a point",
       agree(spread(where(rows, {{"mode", "tune"}}), "accuracy"), spread(eval, "accuracy"))}};
  report.tables = {table};
  report.figures = {{"Memory of a step", to_svg(chart),
                     "With gamma and beta fixed, Eval has no use for the convolution's output."}};
  return report;
}

}  // namespace

Claim frozen_claim() {
  return {.name = "frozen",
          .title = "Frozen batch normalisation",
          .published =
              "Tune is faster than FrozenBatchNorm2d at almost the same memory (first "
              "version of the paper, table 8; cited in mmcv#2807).",
          .method =
              "FrozenBatchNorm is Eval whose gamma and beta are not trained. A tenth of the "
              "target's images, four epochs at rate 0.01, batches of 128; otherwise as in "
              "transfer learning.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
