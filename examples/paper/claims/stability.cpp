// Claim: training in Deploy is unstable, because every channel's rate is multiplied by 1 / s^2.

#include <fmt/format.h>

#include <algorithm>

#include "paper/claims/explanation.h"
#include "paper/fine_tuning.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/figures.h"

namespace attune::examples {
namespace {

std::vector<Row> sweep(Lab& lab, double lr, double share, std::int64_t epochs, std::uint64_t seed) {
  CompareOptions options{.run = lab.run_options(seed),
                         .epochs = epochs,
                         .lr = lr,
                         .modes = {Mode::eval, Mode::tune, Mode::deploy}};
  const Task target = part_of_target(lab, share, seed, 2000);
  std::vector<Row> rows = fine_tuned_rows(lab, target, options);
  // Some runs end with finite losses and a network that knows nothing.
  const double chance = 1.0 / static_cast<double>(target.classes());
  for (Row& row : rows) {
    row["failed"] = row["diverged"] == true || !(number(row, "accuracy") > 1.5 * chance);
  }
  return rows;
}

std::vector<Row> measure_scales(Lab& lab) {
  CompareOptions options{.run = lab.run_options(1)};
  options.run.init = lab.pretrained();
  options.run.replace_head = true;
  return {{{"squares", read_pretrained(lab.transfer().target, options).squared_scales}}};
}

std::vector<Experiment> plan(Lab& lab) {
  std::vector<Experiment> experiments{{{{"table", "scales"}, {"network", lab.pretrained_name()}},
                                       [&lab] { return measure_scales(lab); }}};
  for (const char* const net : {"resnet", "two blocks with bias"}) {
    for (const double momentum : {0.0, 0.9}) {
      experiments.push_back(explanation(lab, net, momentum));
    }
  }
  // Quickly: where Deploy fails and Tune does not depends on how the pretraining was rounded, which
  // differs between instruction sets; one of these rates is such a one on each.
  const std::vector<double> rates = lab.quick()
                                        ? std::vector{1e-3, 1.4e-3, 3e-3, 6e-3}
                                        : std::vector{1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1};
  const double share = lab.quick() ? 1 : 0.1;
  const std::int64_t epochs = lab.quick() ? 1 : 2;
  for (const std::uint64_t seed : lab.seeds()) {
    for (const double lr : rates) {
      experiments.push_back({{{"table", "sweep"},
                              {"network", lab.pretrained_name()},
                              {"target", lab.transfer().target.name},
                              {"batch", lab.batch()},
                              {"share", share},
                              {"epochs", epochs},
                              {"lr", lr},
                              {"seed", seed}},
                             [=, &lab] { return sweep(lab, lr, share, epochs, seed); }});
    }
  }
  return experiments;
}

void report_sweep(Report& report, const std::vector<Row>& rows) {
  Report::NamedTable table{
      "Test accuracy (mean ± deviation of the runs that ended with more than "
      "one and a half times chance), and how many did not:",
      {{"rate", "runs", "Eval", "failed", "Tune", "failed", "Deploy", "failed"}, {}}};
  LineChart chart{.x_axis = {"learning rate", Scale::logarithmic},
                  .y_axis = {"per cent right, mean of all runs"}};
  for (const char* const mode : {"eval", "tune", "deploy"}) {
    chart.series.push_back({.name = capitalized(mode), .color = color_of(mode)});
  }
  chart.series[0].width = 7;
  chart.series[1].dashed = true;
  Finding equal{
      "Tune's accuracy is Eval's within the seeds' deviation, or two points, at every "
      "rate at which both learn",
      true};
  Finding unstable{"there is a rate at which all runs in Deploy fail, and none in Tune", false};
  std::vector<Group> by_rate = group_by(rows, {"lr"});
  std::sort(by_rate.begin(), by_rate.end(), [](const Group& a, const Group& b) {
    return number(a.key, "lr") < number(b.key, "lr");
  });
  for (const auto& [key, group] : by_rate) {
    const double lr = number(key, "lr");
    std::vector<std::string> cells{fmt::format("{:g}", lr)};
    std::vector<Spread> learnt;
    std::vector<std::size_t> failed;
    for (LineSeries& series : chart.series) {
      std::string mode = series.name;
      mode[0] = static_cast<char>(mode[0] - 'A' + 'a');
      const std::vector<Row> runs = where(group, {{"mode", mode}});
      learnt.push_back(spread(where(runs, {{"failed", false}}), "accuracy"));
      failed.push_back(where(runs, {{"failed", true}}).size());
      if (cells.size() == 1) cells.push_back(std::to_string(runs.size()));
      cells.push_back(percent(learnt.back()));
      cells.push_back(std::to_string(failed.back()));
      series.x.push_back(lr);
      series.y.push_back(100 * spread(runs, "accuracy").mean);
    }
    table.table.rows.push_back(cells);
    if (failed[0] == 0 && failed[1] == 0) {
      equal.holds = equal.holds && agree(learnt[1], learnt[0], 0.02);
    }
    unstable.holds = unstable.holds || (failed[1] == 0 && learnt[2].count == 0);
  }
  report.findings.push_back(equal);
  report.findings.push_back(unstable);
  report.tables.push_back(table);
  report.figures.push_back(
      {"Accuracy against the learning rate", to_svg(chart),
       "Runs whose loss was no number are left out of the mean; where all were, the "
       "line has a gap."});
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  const auto part = [&](const char* table) { return where(rows, {{"table", table}}); };
  if (const auto runs = part("sweep"); !runs.empty()) report_sweep(report, runs);
  if (const auto runs = part("explanation"); !runs.empty()) report_explanation(report, runs);
  for (const Row& row : part("scales")) {
    std::vector<double> squares = row["squares"].get<std::vector<double>>();
    std::sort(squares.begin(), squares.end());
    report.figures.push_back(
        {"s² of the pretrained network", to_svg(scale_chart(squares)),
         fmt::format(
             "One value a channel, by which Deploy's weight steps are too large (s² < 1) or "
             "too small: from {:.1e} to {:.1e}, median {:.2g}.",
             squares.front(), squares.back(), median(squares))});
  }
  return report;
}

}  // namespace

Claim stability_claim() {
  return {.name = "stability",
          .title = "Why Deploy is not trained",
          .published =
              "Training in Deploy is unstable: it diverges, or ends less accurate, at rates "
              "at which Eval and Tune train well.",
          .method =
              "The pretrained network fine-tuned for two epochs of a tenth of the target's "
              "images at rates over three decades (otherwise as in transfer learning; 2000 "
              "test images); and the explanation put to the test: SGD without weight decay, "
              "gamma fixed, Deploy's gradients multiplied so that its steps are Eval's.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
