#include "support/command_line.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "attune/core/error.h"
#include "tests/catch.h"
#include "tests/data/temporary_directory.h"

using namespace attune;
using namespace attune::examples;

namespace {

struct Outcome {
  int exit_code;
  std::string out, err;
};

/// Runs a program with the shared options on `arguments`.
Outcome run(
    std::vector<std::string> arguments, RunOptions& options,
    const std::function<int()>& body = [] { return kExitDone; }) {
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  std::ostringstream out, err;
  std::streambuf* const cout = std::cout.rdbuf(out.rdbuf());
  std::streambuf* const cerr = std::cerr.rdbuf(err.rdbuf());
  const int exit_code = run_program(
      static_cast<int>(argv.size()), argv.data(),
      {.about = "A program", .examples = "Examples:\n  program"},
      [&](CLI::App& app) { add_run_options(app, options); }, body);
  std::cout.rdbuf(cout);
  std::cerr.rdbuf(cerr);
  return {exit_code, out.str(), err.str()};
}

}  // namespace

TEST_CASE("options reach the program") {
  RunOptions options;
  const Outcome outcome =
      run({"--net",      "resnet32", "--data",   "x",     "--batch-size=7", "--seed", "5",
           "--threads",  "2",        "--double", "--out", "runs/a",         "--json", "b.json",
           "--progress", "plain",    "--limit",  "9",     "--workers",      "0",      "--profile"},
          options);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(options.net == "resnet32");
  CHECK(options.data == "x");
  CHECK(options.batch_size == 7);
  CHECK(options.seed == 5);
  CHECK(options.threads == 2);
  CHECK(options.use_double);
  CHECK(options.out == "runs/a");
  CHECK(options.json == "b.json");
  CHECK(options.progress == ProgressStyle::plain);
  CHECK(options.limit == 9);
  CHECK(options.workers == 0);
  CHECK(options.profile);
}

TEST_CASE("options may stand in a file, and the command line goes before it") {
  const test::TemporaryDirectory directory;
  const std::string file = directory.file("run.toml");
  std::ofstream(file) << "# a comment\nbatch-size = 7\nseed = 5\ndouble = true\ndata = 'my set'\n";
  RunOptions options;
  const Outcome outcome = run({"--config", file, "--seed", "6"}, options);
  INFO(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(options.batch_size == 7);
  CHECK(options.seed == 6);
  CHECK(options.use_double);
  CHECK(options.data == "my set");
  const auto refused = [&](const std::string& content, const std::string& part) {
    std::ofstream(file) << content;
    const Outcome refusal = run({"--config", file}, options);
    INFO(refusal.err);
    CHECK(refusal.exit_code == kExitUsageError);
    CHECK(refusal.out.empty());
    CHECK(refusal.err.find(part) != std::string::npos);
    CHECK(refusal.err.find('\n') == refusal.err.size() - 1);
  };
  refused("colour = 3", "colour");
  refused("batch-size = 0", "--batch-size");
  std::filesystem::remove(file);
  CHECK(run({"--config", file}, options).exit_code == kExitUsageError);
}

TEST_CASE("a wrong command line is one line and exit code 2") {
  const std::vector<std::vector<std::string>> wrong = {
      {"--colour"},      {"--batch-size", "0"}, {"--batch-size", "many"}, {"--threads", "-1"},
      {"--limit", "-5"}, {"--seed", "-1"},      {"--progress", "loud"},   {"stray"},
      {"--out"}};
  for (const auto& arguments : wrong) {
    INFO(arguments[0]);
    RunOptions options;
    bool ran = false;
    const Outcome outcome = run(arguments, options, [&] {
      ran = true;
      return kExitDone;
    });
    CHECK(outcome.exit_code == kExitUsageError);
    CHECK(!ran);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.rfind("error: ", 0) == 0);
    CHECK(outcome.err.find(arguments[0]) != std::string::npos);
    CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
  }
}

TEST_CASE("numbers that are out of range are told apart from those that are not") {
  for (const char* text : {"1", "0.5", "1e-9", "1e300"}) {
    CHECK(check_positive(text).empty());
    CHECK(check_not_negative(text).empty());
  }
  for (const char* text : {"-1", "nan", "inf", "1e999", "fast", "1x", ""}) {
    CHECK(check_positive(text) == std::string(text) + " is not a positive number");
    CHECK(check_not_negative(text) == std::string(text) + " is neither zero nor a positive number");
  }
  CHECK(!check_positive("0").empty());
  CHECK(check_not_negative("0").empty());
}

TEST_CASE("an error of the run is one line and exit code 1") {
  RunOptions options;
  const Outcome outcome = run({}, options, []() -> int { throw Error("no such\nfile"); });
  CHECK(outcome.exit_code == kExitRunError);
  CHECK(outcome.err == "error: no such file\n");
}

TEST_CASE("the program's own exit code is passed on") {
  RunOptions options;
  CHECK(run({}, options, [] { return kExitInterrupted; }).exit_code == 130);
}

TEST_CASE("help goes to stdout, with groups, defaults and examples") {
  RunOptions options;
  const Outcome outcome = run({"--help"}, options);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  for (const char* part : {"Training", "Output", "--batch-size", "128", "Examples:"}) {
    CHECK(outcome.out.find(part) != std::string::npos);
  }
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    CHECK(line.size() <= 100);
  }
}

TEST_CASE("the version is the library's") {
  RunOptions options;
  CHECK(run({"--version"}, options).out.rfind("attune ", 0) == 0);
}
