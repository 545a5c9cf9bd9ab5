// Measures the claims of the paper (arXiv 2305.11624) again, one after the other, and writes what
// came out: a table and a verdict for each on stdout, CSV and JSON files, and one page of charts.

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "paper/claim.h"
#include "paper/lab.h"
#include "paper/options.h"
#include "paper/page.h"
#include "paper/run_log.h"
#include "support/interrupt.h"
#include "support/output_files.h"
#include "support/training.h"

namespace attune::examples {
namespace {

constexpr const char* kExamples = R"(Examples:
  reproduce --quick                          all claims on generated images, in minutes
  reproduce memory                           one claim
  reproduce --data ~/cifar                   all, in hours; Ctrl-C, and the same again, goes on
  reproduce --report --docs docs/paper.md    tables of what has been measured)";

bool is_wanted(const Claim& claim, const PaperOptions& options) {
  const auto& names = options.claims;
  return names.empty() || std::find(names.begin(), names.end(), claim.name) != names.end();
}

/// How to get a claim's figures again.
std::string command_line(const Claim& claim, const PaperOptions& options) {
  const PaperOptions usual;
  std::string text = "scripts/reproduce " + claim.name;
  if (options.quick) text += " --quick";
  if (options.run.data != usual.run.data) text += " --data DIR";
  if (options.run.net != usual.run.net) text += " --net " + options.run.net;
  if (options.run.device.device != usual.run.device.device) {
    text += " --device " + to_string(options.run.device.device);
  }
  if (options.pretrain_epochs != usual.pretrain_epochs) {
    text += fmt::format(" --pretrain-epochs {}", options.pretrain_epochs);
  }
  if (options.seeds != usual.seeds) text += fmt::format(" --seeds {}", options.seeds);
  return text;
}

/// The rows of all runs that the options ask for and that have been made, now or earlier.
std::vector<Row> measure(const Claim& claim, Lab& lab, RunLog& log) {
  const PaperOptions& options = lab.options();
  std::vector<Experiment> experiments = claim.plan(lab);
  for (Experiment& experiment : experiments) {
    experiment.settings["device"] = describe(options.run.device);
  }
  if (!options.report && !interrupted()) {
    run_experiments(claim.name, experiments, log, options.again, options.run.progress);
  }
  std::vector<Row> all;
  for (const Experiment& experiment : experiments) {
    const std::vector<Row> rows = log.find(experiment.settings);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

int reproduce(const PaperOptions& options) {
  const InterruptGuard guard;
  const DeviceScope device(options.run.device);
  apply_settings(options.run);
  const auto& out = options.run.out;
  check_writable(out / "index.html");

  Lab lab(options);
  std::vector<Chapter> chapters, asked_for;
  bool all_hold = true;
  for (const Claim& claim : all_claims()) {
    RunLog log(out / (claim.name + ".jsonl"));
    const bool wanted = is_wanted(claim, options);
    Chapter chapter{.claim = claim,
                    .command = command_line(claim, options),
                    .rows = wanted ? measure(claim, lab, log) : log.rows(),
                    .report = {}};
    if (chapter.rows.empty()) continue;
    chapter.report = claim.report(chapter.rows);
    write_file(out / (claim.name + ".csv"), to_csv(chapter.rows));
    write_file(out / (claim.name + ".json"), to_json(chapter));
    if (wanted) {
      std::cout << to_text(chapter) << std::flush;
      for (const Finding& finding : chapter.report.findings) all_hold &= finding.holds;
      asked_for.push_back(chapter);
    }
    chapters.push_back(std::move(chapter));
  }
  write_file(out / "index.html", to_html(chapters));
  if (!options.docs.empty()) write_docs(options.docs, asked_for);
  std::cout << "page: " << (out / "index.html").string() << "\n";
  if (interrupted()) {
    std::cerr << "interrupted: the same command goes on from here" << std::endl;
    return kExitInterrupted;
  }
  if (!all_hold) {
    std::cerr << "not everything holds that was to be checked" << std::endl;
    return kExitRunError;
  }
  return kExitDone;
}

}  // namespace
}  // namespace attune::examples

int main(int argc, char** argv) {
  using namespace attune::examples;
  PaperOptions options;
  return run_program(
      argc, argv,
      {.about = "Measures the claims of arXiv 2305.11624 again, with tables and charts.",
       .examples = kExamples},
      [&](CLI::App& app) { add_paper_options(app, options); }, [&] { return reproduce(options); });
}
