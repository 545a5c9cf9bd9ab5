// train_resnet as a process that is stopped and killed.

#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is not in <csignal>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "attune/core/checkpoint.h"
#include "tests/catch.h"
#include "tests/examples/run_program.h"

namespace fs = std::filesystem;
using namespace attune;
using namespace attune::test;

namespace {

const std::string kTrain = ATTUNE_TRAIN_RESNET;

/// 12 steps. The rate is one at which so few of them do no harm.
std::string command(const RunDirectory& directory, const std::string& out,
                    const std::string& more = "") {
  return kTrain + " --limit 32 --batch-size 8 --epochs 3 --lr 0.01 --progress off --out " +
         (directory / out).string() + more;
}

void check_same_results(const RunDirectory& directory, const std::string& a, const std::string& b) {
  const auto file = [&](const std::string& out, const char* name) {
    return directory / (out + name);
  };
  CHECK(content(file(a, "/weights.safetensors")) == content(file(b, "/weights.safetensors")));
  const auto summary = [&](const std::string& out) {
    nlohmann::json json = nlohmann::json::parse(content(file(out, "/summary.json")));
    for (nlohmann::json& epoch : json["epochs"]) epoch.erase("train_seconds");
    return json;
  };
  CHECK(summary(a) == summary(b));
  const auto rows = [&](const std::string& out) {
    std::string text;
    std::istringstream csv(content(file(out, "/metrics.csv")));
    for (std::string line; std::getline(csv, line);) {
      text += line.substr(0, line.rfind(',')) + "\n";  // without the seconds
    }
    return text;
  };
  CHECK(rows(a) == rows(b));
  CHECK(lines(rows(a)) == 4);
}

/// Files that a killed process left half written.
std::ptrdiff_t leftovers(const fs::path& directory) {
  return std::count_if(fs::directory_iterator(directory), {}, [](const fs::directory_entry& entry) {
    return entry.path().string().find("checkpoint.safetensors.") != std::string::npos;
  });
}

}  // namespace

TEST_CASE("killed at any instant, train_resnet goes on from its last checkpoint") {
  const RunDirectory directory;
  REQUIRE(run(directory, command(directory, "whole")).exit_code == 0);
  const fs::path checkpoint = directory / "killed/checkpoint.safetensors";
  fs::create_directories(directory / "killed");
  const std::string killed = command(directory, "killed", " --checkpoint-every 1 --resume auto");
  std::int64_t step = 0;
  int kills = 0;
  // Each life is a little longer than the last, so that in the end one reaches the end.
  for (int life = 0; life < 200; ++life) {
    const pid_t child = start(directory, killed);
    std::this_thread::sleep_for(std::chrono::milliseconds(10 + 7 * life));
    kill(child, SIGKILL);
    const int code = wait_for(child);
    INFO(content(directory / "stderr"));
    REQUIRE((code == 0 || code == -SIGKILL));
    if (fs::exists(checkpoint)) {
      const Checkpoint loaded = load_checkpoint(checkpoint);  // whole, whatever happened
      CHECK(loaded.step >= step);
      step = loaded.step;
    } else {
      CHECK(step == 0);
    }
    if (code == 0) break;
    ++kills;
  }
  CHECK(step == 12);
  CHECK(kills > 0);
  REQUIRE(run(directory, killed).exit_code == 0);
  CHECK(leftovers(directory / "killed") == 0);
  check_same_results(directory, "whole", "killed");
}

TEST_CASE("Ctrl-C writes a checkpoint, and --resume auto goes on from it") {
  const RunDirectory directory;
  REQUIRE(run(directory, command(directory, "whole", " --ema 0.9")).exit_code == 0);
  const std::string stopped =
      command(directory, "stopped", " --ema 0.9 --resume auto --checkpoint-every 1");
  const fs::path checkpoint = directory / "stopped/checkpoint.safetensors";
  const pid_t child = start(directory, stopped);
  for (int i = 0; i < 6000 && !fs::exists(checkpoint); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  REQUIRE(fs::exists(checkpoint));
  kill(child, SIGINT);
  const int code = wait_for(child);
  // It may have been at its end already, on a machine that stood still in between.
  REQUIRE((code == 130 || code == 0));
  if (code == 130) {
    CHECK(content(directory / "stderr") ==
          "interrupted: the results are those of the epochs until then; --resume auto goes on from "
          "here\n");
    const auto json = nlohmann::json::parse(content(directory / "stopped/summary.json"));
    CHECK(json["interrupted"] == true);
  }
  const Outcome resumed = run(directory, stopped);
  CHECK(resumed.exit_code == 0);
  CHECK(resumed.out.find("mode train (cpu, fp32), resuming " + checkpoint.string() + " at ") !=
        std::string::npos);
  check_same_results(directory, "whole", "stopped");
}

TEST_CASE("a checkpoint can be named, and a run that is complete stays so") {
  const RunDirectory directory;
  REQUIRE(run(directory, command(directory, "first")).exit_code == 0);
  const std::string file = (directory / "first/checkpoint.safetensors").string();
  const Outcome again = run(directory, command(directory, "second", " --resume " + file));
  CHECK(again.exit_code == 0);
  CHECK(again.out.find("at its end") != std::string::npos);
  CHECK(lines(again.out) == 3);
  CHECK(content(directory / "second/metrics.csv") == content(directory / "first/metrics.csv"));
}

TEST_CASE("what cannot be resumed is one clear line") {
  const RunDirectory directory;
  const std::string plain = kTrain + " --limit 32 --batch-size 8 --epochs 1 --progress off";
  check_error(run(directory, plain + " --resume auto"), 2, "--resume auto needs --out");
  check_error(run(directory, plain + " --checkpoint-every 2"), 2, "needs --out");
  check_error(run(directory, plain + " --checkpoint-every -2"), 2, "--checkpoint-every: -2");
  const auto failed = [&](const std::string& more) { return run(directory, plain + more); };
  check_error(failed(" --resume " + (directory / "none").string()), 1, "No such file");
  std::ofstream(directory / "bad") << "bad";
  check_error(failed(" --resume " + (directory / "bad").string()), 1, "byte 3");
  REQUIRE(run(directory, command(directory, "run")).exit_code == 0);
  check_error(failed(" --lr 0.01 --resume " + (directory / "run/checkpoint.safetensors").string()),
              1, "the run that wrote it has epochs 3, this one 1");
  check_error(failed(" --resume " + (directory / "run/weights.safetensors").string()), 1,
              "this is no checkpoint");
}
