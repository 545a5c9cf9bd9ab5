// Claim: also a training from scratch can end in Tune: the last epochs cost less, and are as good.

#include <attune/core/random.h>
#include <fmt/format.h>

#include "paper/claim.h"
#include "paper/fine_tuning.h"
#include "paper/rows.h"
#include "support/chart.h"
#include "support/network.h"
#include "train_resnet/trainer.h"

namespace attune::examples {
namespace {

std::vector<Row> measure(Lab& lab, double share, std::int64_t epochs, std::int64_t tuned, double lr,
                         std::uint64_t seed) {
  const Task task = part_of_target(lab, share, seed);
  const TrainOptions options{.run = lab.run_options(seed), .epochs = epochs, .lr = lr};
  manual_seed(seed);
  const auto net = build_network(task, options.run).net;
  Trainer trainer(net, task, options);
  bool diverged = false;
  try {
    trainer.run([&](std::size_t done, const EpochResult&) {
      // Eval's gradients from here on. After each test the trainer puts the network into Train.
      if (static_cast<std::int64_t>(done) >= epochs - tuned) net->set_mode(Mode::tune);
    });
  } catch (const Diverged&) {
    diverged = true;
  }
  const bool complete = static_cast<std::int64_t>(trainer.epochs().size()) == epochs;
  const EpochResult last = complete ? trainer.epochs().back() : EpochResult{};
  return {{{"accuracy", complete ? Row(last.test_accuracy) : Row()},
           {"seconds", complete ? Row(last.train_seconds) : Row()},
           {"diverged", diverged}}};
}

std::vector<Experiment> plan(Lab& lab) {
  const double share = lab.quick() ? 1 : 0.25;
  const std::int64_t epochs = lab.quick() ? 4 : 8;
  const double lr = lab.quick() ? 0.01 : 0.1;
  const auto last =
      lab.quick() ? std::vector<std::int64_t>{0, 1} : std::vector<std::int64_t>{0, 1, 2};
  std::vector<Experiment> experiments;
  for (const std::uint64_t seed : lab.seeds()) {
    for (const std::int64_t tuned : last) {
      experiments.push_back({{{"network", lab.options().run.net},
                              {"task", lab.transfer().target.name},
                              {"batch", lab.batch()},
                              {"share", share},
                              {"epochs", epochs},
                              {"epochs in Tune", tuned},
                              {"lr", lr},
                              {"seed", seed}},
                             [=, &lab] { return measure(lab, share, epochs, tuned, lr, seed); }});
    }
  }
  return experiments;
}

Report make_report(const std::vector<Row>& rows) {
  Report report;
  Report::NamedTable table{
      "Test accuracy (mean ± deviation over the seeds), and time relative to "
      "Train throughout:",
      {{"epochs", "of these in Tune", "seeds", "diverged", "accuracy", "time / Train"}, {}}};
  BarChart chart{.y_title = "per cent right", .x_title = "epochs in Tune, at the end"};
  BarSeries series{.name = "accuracy", .color = color_of("tune")};
  const auto groups = group_by(rows, {"epochs in Tune"});
  const std::vector<Row> train = where(rows, {{"epochs in Tune", 0}});
  const Spread before = spread(train, "accuracy");
  for (const auto& [key, runs] : groups) {
    const Spread accuracy = spread(runs, "accuracy");
    table.table.rows.push_back(
        {runs[0]["epochs"].dump(), key["epochs in Tune"].dump(), std::to_string(runs.size()),
         std::to_string(where(runs, {{"diverged", true}}).size()), percent(accuracy),
         ratio_text(median(runs, "seconds"), median(train, "seconds"))});
    chart.groups.push_back(key["epochs in Tune"].dump());
    series.values.push_back(100 * accuracy.mean);
    // A few epochs of few images, as with --quick, end far from convergence, where this is not
    // claimed.
    if (key["epochs in Tune"] == 0 || number(runs[0], "epochs") < 8) continue;
    report.findings.push_back(
        {fmt::format("the last {} of {} epochs in Tune cost no more accuracy than the seeds' "
                     "deviation, or a point",
                     key["epochs in Tune"].dump(), runs[0]["epochs"].dump()),
         accuracy.count == runs.size() &&
             (accuracy.mean >= before.mean || agree(accuracy, before, 0.01))});
  }
  chart.series = {series};
  report.tables = {table};
  report.figures = {
      {"Accuracy after training from scratch", to_svg(chart), "Mean over the seeds."}};
  return report;
}

}  // namespace

Claim pretraining_claim() {
  return {.name = "pretraining",
          .title = "Pretraining that ends in Tune",
          .published =
              "Tune in the last epochs of training from scratch is as accurate as Train "
              "throughout, for less time and memory.",
          .method =
              "Training from scratch on a quarter of the target's images, eight epochs by one "
              "cycle up to rate 0.1, batches of 128; Train, and Tune for none, one or two "
              "epochs at the end.",
          .plan = plan,
          .report = make_report};
}

}  // namespace attune::examples
