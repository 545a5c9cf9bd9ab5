// Claim: fine-tuning in Tune is as accurate as in Train, or more, for less time and memory.

#include <fmt/format.h>

#include "paper/claim.h"
#include "paper/fine_tuning.h"
#include "paper/rows.h"
#include "support/chart.h"

namespace attune::examples {
namespace {

struct Setting {
  std::string net;
  double share = 0;
  std::int64_t batch = 0, epochs = 0;
};

std::vector<Row> measure(Lab& lab, const Setting& setting, double lr, std::uint64_t seed) {
  CompareOptions options{.run = lab.run_options(seed), .epochs = setting.epochs, .lr = lr};
  options.run.net = setting.net;
  options.run.batch_size = setting.batch;
  return fine_tuned_rows(lab, part_of_target(lab, setting.share, seed), options);
}

/// The settings with the first seed, which tells something of each of them; then with the others.
void add_experiments(std::vector<Experiment>& experiments, Lab& lab,
                     const std::vector<Setting>& settings) {
  for (const std::uint64_t seed : lab.seeds()) {
    for (const Setting& setting : settings) {
      const double lr = (lab.quick() ? 0.004 : 0.01) * static_cast<double>(setting.batch) / 128;
      experiments.push_back({{{"network", lab.pretrained_name(setting.net)},
                              {"target", lab.transfer().target.name},
                              {"share", setting.share},
                              {"batch", setting.batch},
                              {"epochs", setting.epochs},
                              {"lr", lr},
                              {"seed", seed}},
                             [=, &lab] { return measure(lab, setting, lr, seed); }});
    }
  }
}

std::vector<Experiment> plan(Lab& lab) {
  const std::string& net = lab.options().run.net;
  std::vector<Experiment> experiments;
  if (lab.quick()) {
    add_experiments(experiments, lab, {{net, 0.25, 32, 2}, {net, 0.05, 4, 2}});
    return experiments;
  }
  const auto settings = [](const std::string& of) -> std::vector<Setting> {
    return {{of, 0.05, 128, 5}, {of, 0.05, 4, 5}, {of, 1, 128, 1}, {of, 1, 4, 1}};
  };
  add_experiments(experiments, lab, settings(net));
  if (net != "resnet20") return experiments;
  std::vector<Setting> larger = settings("resnet18");
  if (!lab.full()) larger.resize(1);
  add_experiments(experiments, lab, larger);
  return experiments;
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  Report::NamedTable table = outcome_table({"network, data, batch", "mode"});
  BarChart chart{.y_title = "per cent right",
                 .x_title = "network, share of the target's images, batch"};
  for (const char* const mode : {"train", "eval", "tune", "deploy"}) {
    chart.series.push_back({capitalized(mode), {}, color_of(mode)});
  }
  Finding bytes{"Tune keeps what Deploy keeps, byte for byte", true};
  Finding equal{"Tune's accuracy is Eval's within the seeds' deviation, or half a point", true};
  for (const auto& [key, group] : group_by(rows, {"network", "share", "batch"})) {
    const auto network = key["network"].get<std::string>();  // "resnet20 after 12 epochs of ..."
    const std::string name = fmt::format("{}, {:g} %, {}", network.substr(0, network.find(' ')),
                                         100 * number(key, "share"), key["batch"].dump());
    const std::vector<Row> eval = where(group, {{"mode", "eval"}});
    const std::vector<Row> tune = where(group, {{"mode", "tune"}});
    chart.groups.push_back(name);
    std::size_t series = 0;
    for (const auto& [mode, runs] : group_by(group, {"mode"})) {
      add_outcome(table, {name, mode["mode"].get<std::string>()}, runs, eval);
      chart.series[series++].values.push_back(100 * spread(runs, "accuracy").mean);
    }
    bytes.holds = bytes.holds &&
                  tune[0]["saved_bytes"] == where(group, {{"mode", "deploy"}})[0]["saved_bytes"];
    equal.holds = equal.holds && agree(spread(tune, "accuracy"), spread(eval, "accuracy"));
  }
  report.findings = {bytes, equal};
  report.tables = {table};
  report.figures = {{"Accuracy after fine-tuning", to_svg(chart),
                     "A missing bar: all runs diverged, or none has been made."}};
  return report;
}

}  // namespace

Claim transfer_claim() {
  return {
      .name = "transfer",
      .title = "Transfer learning",
      .published =
          "ResNet-50, Train to Tune (table 3): CUB-200 83.07 to 83.20 % accuracy, 0.571 to 0.501 "
          "s an iteration, 19.967 to 12.323 GB; Aircraft 85.40 to 85.90 %, 0.564 to 0.505 s; "
          "Cars 89.87 to 90.13 %, 0.571 to 0.491 s.",
      .method =
          "A network, pretrained on the source, with a new classifier fine-tuned in all "
          "four modes side by side: same batches, SGD with Nesterov momentum 0.9, weight "
          "decay 5e-4, rate 0.01 batch / 128 falling along a cosine; one epoch of all of "
          "the target's images, or five of a twentieth. And ResNet-18: on a GPU in the same "
          "settings; else in the first of them, pretrained for a quarter of the epochs.",
      .plan = plan,
      .report = make_report};
}

}  // namespace attune::examples
