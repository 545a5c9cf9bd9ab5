// What scripts/reproduce is made of, without its runs: those are a test of their own.

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "paper/claim.h"
#include "paper/page.h"
#include "paper/rows.h"
#include "paper/run_log.h"
#include "support/chart.h"
#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/xml_check.h"

using namespace attune;
using namespace attune::examples;

namespace {

const std::vector<Row> kRows{{{"mode", "tune"}, {"seed", 1}, {"accuracy", 0.5}},
                             {{"mode", "eval"}, {"seed", 1}, {"accuracy", 0.75}},
                             {{"mode", "tune"}, {"seed", 2}, {"accuracy", 0.7}},
                             {{"mode", "eval"}, {"seed", 2}, {"accuracy", nullptr}}};

bool holds(const Report& report, const std::string& part) {
  for (const auto& [statement, so] : report.findings) {
    if (statement.find(part) != std::string::npos) return so;
  }
  FAIL("no finding says: " << part);
  return false;
}

std::string message(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("paper: rows are selected, grouped and summarised") {
  CHECK(where(kRows, {{"mode", "tune"}}).size() == 2);
  CHECK(where(kRows, {{"mode", "tune"}, {"seed", 2}}).size() == 1);
  CHECK(where(kRows, {{"other", 1}}).empty());
  const std::vector<Group> groups = group_by(kRows, {"mode"});
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].key == Row{{"mode", "tune"}});
  CHECK(groups[1].rows.size() == 2);

  const Spread tune = spread(groups[0].rows, "accuracy");
  CHECK(std::abs(tune.mean - 0.6) <= 1e-12);
  CHECK(std::abs(tune.deviation - std::sqrt(0.02)) <= 1e-12);
  CHECK(percent(tune) == "60.0 ± 14.1 %");
  const Spread eval = spread(groups[1].rows, "accuracy");  // one of two is no number
  CHECK(eval.count == 1);
  CHECK(percent(eval) == "75.0 %");
  CHECK(std::isnan(spread({}, "accuracy").mean));
  CHECK(percent(spread({}, "accuracy")) == "-");
  CHECK(largest(groups[0].rows, "accuracy") == 0.7);
  CHECK(std::isnan(largest(groups[1].rows, "accuracy")));

  CHECK(saving(3, 4) == "−25.0 %");
  const std::vector<Row> times{{{"ms", 4}}, {{"ms", 9}}, {{"ms", 2}}};
  CHECK(time_ratio(times, {{{"ms", 8}}, {{"ms", 10}}, {{"ms", 1}}}) == 0.9);  // 0.5, 0.9, 2

  CHECK(agree({0.5, 0.01, 3}, {0.509, 0, 3}));
  CHECK_FALSE(agree({0.5, 0.001, 3}, {0.509, 0, 3}));
  CHECK(agree({0.5, 0.001, 3}, {0.509, 0, 3}, 0.02));
  CHECK_FALSE(agree(spread({}, "accuracy"), {0.5, 1, 3}));
}

TEST_CASE("paper: an experiment that has been run is not run again") {
  const test::RunDirectory directory;
  const auto path = directory / "log/claim.jsonl";
  int runs = 0;
  const auto experiment = [&](int seed) {
    return Experiment{{{"seed", seed}}, [&runs, seed] {
                        ++runs;
                        return std::vector<Row>{{{"mode", "eval"}, {"value", 10 * seed}},
                                                {{"mode", "tune"}, {"value", std::nan("")}}};
                      }};
  };
  {
    RunLog log(path);
    run_experiments("claim", {experiment(1)}, log, false, ProgressStyle::off);
  }
  RunLog log(path);
  CHECK(log.find({{"seed", 1}}) ==
        std::vector<Row>{{{"seed", 1}, {"mode", "eval"}, {"value", 10}},
                         {{"seed", 1}, {"mode", "tune"}, {"value", nullptr}}});
  run_experiments("claim", {experiment(1), experiment(2)}, log, false, ProgressStyle::off);
  CHECK(runs == 2);
  CHECK(log.rows().size() == 4);
  run_experiments("claim", {experiment(1), experiment(2)}, log, true, ProgressStyle::off);
  CHECK(runs == 4);
  CHECK(log.rows().size() == 4);
  CHECK(RunLog(path).rows() == log.rows());
}

TEST_CASE("paper: a log survives a kill, and tells of other damage") {
  const test::RunDirectory directory;
  const auto path = directory / "claim.jsonl";
  RunLog(path).add({{"seed", 1}}, {{{"value", 1}}});
  std::ofstream(path, std::ios::app) << R"({"settings":{"seed":2},"rows":[{"val)";
  RunLog log(path);
  CHECK(log.rows().size() == 1);
  log.add({{"seed", 3}}, {{{"value", 3}}});
  CHECK(RunLog(path).rows().size() == 2);

  std::ofstream(path, std::ios::app) << "no JSON\n";
  CHECK(message([&] { const RunLog damaged(path); }).find("claim.jsonl: line 3") !=
        std::string::npos);
}

TEST_CASE("paper: results become CSV, JSON, text, a page and a document") {
  const Claim claim{.name = "cost",
                    .title = "Cost & <time>",
                    .published = "a",
                    .method = "b",
                    .plan = {},
                    .report = {}};
  const Chapter chapter{
      .claim = claim,
      .command = "scripts/reproduce cost",
      .rows = {{{"mode", "tune, fixed"}, {"list", {1, 2}}}, {{"mode", "eval"}, {"ms", 1.5}}},
      .report = {.findings = {{"so it is", true}, {"so it is not", false}},
                 .tables = {{"Caption:", {{"mode", "ms"}, {{"eval", "1.5"}}}}},
                 .figures = {{"Photographs", to_svg(LineChart{}), "Others'.", /*page_only=*/true},
                             {"Chart", to_svg(LineChart{}), "What it shows."}}}};
  CHECK(to_csv(chapter.rows) == "mode,list,ms\n\"tune, fixed\",1 2,\neval,,1.5\n");
  const nlohmann::json json = nlohmann::json::parse(to_json(chapter));
  CHECK(json["findings"][1]["holds"] == false);
  CHECK(json["rows"][1]["ms"] == 1.5);
  CHECK(to_text(chapter).find("DOES NOT HOLD: so it is not") != std::string::npos);
  const std::string page = to_html({chapter});
  CHECK(test::xml_error(page) == "");
  CHECK(page.find("Cost &amp; &lt;time&gt;") != std::string::npos);
  CHECK(page.find("Photographs") != std::string::npos);

  const test::RunDirectory directory;
  const auto document = directory / "paper.md";
  std::ofstream(document) << "Before\n<!-- begin cost -->\nstale\n<!-- end cost -->\nAfter\n";
  write_docs(document, {chapter});
  write_docs(document, {chapter});  // once more changes nothing
  const std::string text = test::content(document);
  CHECK(text.rfind("Before\n<!-- begin cost -->\n\n    scripts/reproduce cost\n", 0) == 0);
  CHECK(text.find("stale") == std::string::npos);
  CHECK(text.find("Photographs") == std::string::npos);
  CHECK(text.find("| eval | 1.5 |") != std::string::npos);
  CHECK(text.find("![Chart](images/paper_cost_1.svg)") != std::string::npos);
  CHECK(text.substr(text.size() - 26) == "\n\n<!-- end cost -->\nAfter\n");
  CHECK(test::xml_error(test::content(directory / "images/paper_cost_1.svg")) == "");

  std::ofstream(document) << "nothing";
  CHECK(message([&] { write_docs(document, {chapter}); }).find("<!-- begin cost -->") !=
        std::string::npos);
}

// The statements that scripts/reproduce is there to check: each has to be able to fail.
TEST_CASE("paper: findings fail where they should") {
  const auto runs = [](double lr, double tune, double deploy, std::int64_t tune_bytes) {
    const auto row = [&](const char* mode, double accuracy, std::int64_t bytes) {
      return Row{{"table", "sweep"},
                 {"network", "resnet20"},
                 {"share", 1},
                 {"batch", 4},
                 {"lr", lr},
                 {"seed", 1},
                 {"mode", mode},
                 {"ms", 1},
                 {"accuracy", accuracy},
                 {"failed", accuracy < 0.2},
                 {"saved_bytes", bytes},
                 {"peak_bytes", 300}};
    };
    return std::vector<Row>{row("train", 0.5, 200), row("eval", 0.6, 200),
                            row("tune", tune, tune_bytes), row("deploy", deploy, 100)};
  };
  const Claim transfer = transfer_claim(), stability = stability_claim();
  CHECK(holds(transfer.report(runs(0.1, 0.6, 0.5, 100)), "byte for byte"));
  CHECK_FALSE(holds(transfer.report(runs(0.1, 0.6, 0.5, 101)), "byte for byte"));
  CHECK(holds(transfer.report(runs(0.1, 0.6, 0.5, 100)), "accuracy is Eval's"));
  CHECK_FALSE(holds(transfer.report(runs(0.1, 0.59, 0.5, 100)), "accuracy is Eval's"));
  CHECK(holds(stability.report(runs(0.1, 0.6, 0.1, 100)), "all runs in Deploy fail"));
  CHECK_FALSE(holds(stability.report(runs(0.1, 0.6, 0.5, 100)), "all runs in Deploy fail"));
  CHECK_FALSE(holds(stability.report(runs(0.1, 0.1, 0.1, 100)), "all runs in Deploy fail"));
  CHECK_FALSE(holds(stability.report(runs(0.1, 0.5, 0.1, 100)), "accuracy is Eval's"));
}
