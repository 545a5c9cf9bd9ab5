// Runs the example programs as people do, on very little data.

#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is not in <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"
#include "tests/examples/xml_check.h"

namespace fs = std::filesystem;
using namespace attune::test;

namespace {

const std::string kCompare = ATTUNE_COMPARE_MODES;
const std::string kTrain = ATTUNE_TRAIN_RESNET;
const std::string kTiny = " --limit 32 --batch-size 8 --progress off";
// Enough steps for the running statistics to mean something.
const std::string kPretrain = " --pretrain-epochs 8 --pretrain-lr 0.01";

}  // namespace

TEST_CASE("compare_modes compares the four modes") {
  const RunDirectory directory;
  const std::string out = (directory / "run").string(), json_path = (directory / "r.json").string();
  const Outcome outcome =
      run(directory, kCompare + kTiny + kPretrain + " --double --steps 3 --out " + out +
                         " --json " + json_path);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("Tune against Eval") != std::string::npos);

  const nlohmann::json json = nlohmann::json::parse(content(json_path));
  CHECK(json == nlohmann::json::parse(content(directory / "run/summary.json")));
  CHECK(json["settings"]["net"] == "resnet20");
  CHECK(json["settings"]["dtype"] == "float64");
  const nlohmann::json& modes = json["modes"];
  REQUIRE(modes.size() == 4);
  for (const char* mode : {"train", "eval", "tune", "deploy"}) {
    INFO(mode);
    const nlohmann::json& result = modes[mode];
    CHECK(result["loss"].size() == 3);
    CHECK(result["ms"].get<double>() > 0);
    CHECK(result["peak_bytes"].get<std::int64_t>() > result["saved_bytes"].get<std::int64_t>());
    for (const char* when : {"accuracy_before", "accuracy_after"}) {
      CHECK(result[when].get<double>() >= 0);
      CHECK(result[when].get<double>() <= 1);
    }
    CHECK(result["accuracy_before"] == modes["eval"]["accuracy_before"]);
  }
  // What the paper is about.
  for (int i = 0; i < 3; ++i) {
    const double eval = modes["eval"]["loss"][i], tune = modes["tune"]["loss"][i];
    CHECK(std::abs(tune - eval) <= 1e-9 * std::abs(eval));
  }
  CHECK(modes["tune"]["saved_bytes"] == modes["deploy"]["saved_bytes"]);
  CHECK(modes["tune"]["saved_bytes"].get<double>() <
        0.6 * modes["eval"]["saved_bytes"].get<double>());
  CHECK(modes["train"]["loss"][0] != modes["eval"]["loss"][0]);
  CHECK(modes["deploy"]["loss"][2] != modes["eval"]["loss"][2]);

  const std::string csv = content(directory / "run/metrics.csv");
  CHECK(csv.rfind("step,mode,loss,ms\n0,train,", 0) == 0);
  CHECK(lines(csv) == 1 + 3 * 4);
  CHECK(attune::test::xml_error(content(directory / "run/index.html")) == "");
  CHECK(std::distance(fs::directory_iterator(directory / "run"), {}) == 3);
}

TEST_CASE("compare_modes goes on when one mode diverges") {
  const RunDirectory directory;
  const std::string json_path = (directory / "r.json").string();
  // Normalising every batch keeps Train finite where Deploy is not.
  const Outcome outcome = run(directory, kCompare + kTiny + kPretrain +
                                             " --epochs 3 --lr 10 --modes train,deploy --json " +
                                             json_path + " --out " + (directory / "run").string());
  INFO(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("diverged") != std::string::npos);
  const nlohmann::json modes = nlohmann::json::parse(content(json_path))["modes"];
  CHECK(modes["train"]["diverged"] == false);
  CHECK(modes["train"]["loss"].size() == 12);
  CHECK(modes["deploy"]["diverged"] == true);
  CHECK(modes["deploy"]["accuracy_after"].is_null());
  CHECK(modes["deploy"]["loss"].back().is_null());
  CHECK(attune::test::xml_error(content(directory / "run/index.html")) == "");
}

TEST_CASE("fine-tuning that diverges in every mode is an error, with what was measured") {
  const RunDirectory directory;
  const std::string json_path = (directory / "r.json").string();
  const Outcome outcome =
      run(directory, kCompare + kTiny + kPretrain +
                         " --epochs 3 --lr 1e20 --modes tune,deploy --json " + json_path);
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.err ==
        "error: fine-tuning diverged in every mode (try a smaller --lr than 1e+20)\n");
  CHECK(nlohmann::json::parse(content(json_path))["modes"]["tune"]["diverged"] == true);
}

TEST_CASE("pretraining that diverges is an error") {
  const RunDirectory directory;
  const Outcome outcome =
      run(directory, kCompare + kTiny + " --pretrain-epochs 5 --pretrain-lr 1e30 --steps 1 --out " +
                         (directory / "run").string());
  check_error(outcome, 1, "--pretrain-lr");
  CHECK(fs::is_empty(directory / "run"));
}

TEST_CASE("Ctrl-C ends compare_modes with what was measured") {
  const RunDirectory directory;
  const std::string out = (directory / "run").string();
  const pid_t child = start(directory, kCompare + kTiny +
                                           " --pretrain-epochs 0 --lr 1e-9 --epochs 100000 "
                                           "--modes eval,tune --out " +
                                           out);
  // The file takes its name with the first row.
  for (int i = 0; i < 6000 && !fs::exists(directory / "run/metrics.csv"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill(child, SIGINT);
  CHECK(wait_for(child) == 130);
  CHECK(content(directory / "stderr").rfind("interrupted", 0) == 0);
  const nlohmann::json json = nlohmann::json::parse(content(directory / "run/summary.json"));
  CHECK(json["interrupted"] == true);
  CHECK(!json["modes"]["tune"]["loss"].empty());
  CHECK(json["modes"]["tune"]["accuracy_after"].is_null());
  CHECK(attune::test::xml_error(content(directory / "run/index.html")) == "");
}

TEST_CASE("the programs print where the time went") {
  const RunDirectory directory;
  const Outcome compared = run(directory, kCompare + kTiny +
                                              " --pretrain-epochs 0 --epochs 2 --lr 1e-9 "
                                              "--modes eval,tune --profile");
  INFO(compared.err);
  REQUIRE(compared.exit_code == 0);
  for (const char* part : {"\neval: one step, mean of 5 after the first 3:\nlayer ",
                           "\ntune: one step, mean of 5 after the first 3:\nlayer ",
                           "\nlayer1.0.conv1 ", " conv_bn_eval ", " conv_bn_tune "}) {
    INFO(part);
    CHECK(compared.out.find(part) != std::string::npos);
  }
  const Outcome trained = run(directory, kTrain + kTiny + " --epochs 2 --lr 1e-9 --profile");
  REQUIRE(trained.exit_code == 0);
  CHECK(trained.out.find("\none step, mean of 5 after the first 3:\nlayer ") != std::string::npos);
  CHECK(trained.out.find("  Sgd  ") != std::string::npos);
  // Three steps are no more than the warm-up.
  const Outcome brief =
      run(directory, kTrain + " --limit 24 --batch-size 8 --progress off --epochs 1 --profile");
  CHECK(brief.out.find("no profile: ") != std::string::npos);
}

TEST_CASE("train_resnet trains") {
  const RunDirectory directory;
  const std::string out = (directory / "run").string();
  const Outcome outcome =
      run(directory, kTrain + kTiny + " --epochs 2 --label-smoothing 0.1 --out " + out);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(lines(outcome.out) == 5);
  CHECK(outcome.out.find("\nmode train (cpu, fp32), from scratch, learning rate up to 0.4\n") !=
        std::string::npos);
  CHECK(lines(content(directory / "run/metrics.csv")) == 3);
  const nlohmann::json json = nlohmann::json::parse(content(directory / "run/summary.json"));
  CHECK(json["epochs"].size() == 2);
  CHECK(json["settings"]["label_smoothing"] == 0.1);
  CHECK(json["epochs"][1]["train_loss"].get<double>() > 0);
  const std::string page = content(directory / "run/index.html");
  CHECK(attune::test::xml_error(page) == "");
  for (const char* figure : {">Training loss<", ">Test accuracy<", ">Learning rate<",
                             ">layer3.2.conv2<", "s² of all 784 channels"}) {
    INFO(figure);
    CHECK(page.find(figure) != std::string::npos);
  }
}

TEST_CASE("a run repeated gives the same numbers, with any number of threads") {
  const RunDirectory directory;
  const auto losses = [&](const std::string& more) {
    const std::string path = (directory / "r.json").string();
    REQUIRE(run(directory, kTrain + kTiny + " --epochs 2 --json " + path + more).exit_code == 0);
    nlohmann::json epochs = nlohmann::json::parse(content(path))["epochs"];
    for (nlohmann::json& epoch : epochs) epoch.erase("train_seconds");
    return epochs;
  };
  const nlohmann::json first = losses(" --threads 1 --workers 0");
  CHECK(losses(" --threads 3 --workers 2") == first);
  CHECK(losses(" --seed 2") != first);
  CHECK(losses(" --recompute activations,blocks") == first);
}

TEST_CASE("compare_modes tells what is recomputed, and keeps less") {
  const RunDirectory directory;
  const std::string path = (directory / "r.json").string();
  const auto compare = [&](const std::string& more) {
    const Outcome outcome = run(directory, kCompare + kTiny +
                                               " --pretrain-epochs 0 --lr 1e-9 --steps 1 --modes "
                                               "train,tune --json " +
                                               path + more);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return nlohmann::json::parse(content(path));
  };
  const nlohmann::json kept = compare(""), again = compare(" --recompute activations,blocks");
  CHECK(kept["settings"]["recompute"] == "none");
  CHECK(again["settings"]["recompute"] == "activations,blocks");
  for (const char* mode : {"train", "tune"}) {
    INFO(mode);
    CHECK(again["modes"][mode]["loss"] == kept["modes"][mode]["loss"]);
    CHECK(again["modes"][mode]["saved_bytes"] < kept["modes"][mode]["saved_bytes"]);
  }
}

TEST_CASE("compare_modes keeps half with --keep-bf16, and computes the same loss") {
  const RunDirectory directory;
  const std::string path = (directory / "r.json").string();
  const auto compare = [&](const std::string& more) {
    const Outcome outcome = run(directory, kCompare + kTiny +
                                               " --pretrain-epochs 0 --lr 1e-9 --steps 1 --modes "
                                               "tune --json " +
                                               path + more);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return nlohmann::json::parse(content(path));
  };
  const nlohmann::json exact = compare(""), rounded = compare(" --keep-bf16");
  CHECK(exact["settings"]["keep_bf16"] == false);
  CHECK(rounded["settings"]["keep_bf16"] == true);
  CHECK(rounded["modes"]["tune"]["loss"] == exact["modes"]["tune"]["loss"]);
  CHECK(rounded["modes"]["tune"]["saved_bytes"].get<double>() <
        0.51 * exact["modes"]["tune"]["saved_bytes"].get<double>());
}

TEST_CASE("training that diverges is an error, and leaves what was measured") {
  const RunDirectory directory;
  const Outcome outcome = run(directory, kTrain + kTiny + " --epochs 50 --lr 1e30 --momentum 0");
  INFO(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.err.rfind("error: training diverged", 0) == 0);
}

TEST_CASE("bad input to the programs is one clear line") {
  const RunDirectory directory;
  std::ofstream(directory / "file") << "text";
  fs::create_directories(directory / "empty");
  const std::string file = (directory / "file").string(), empty = (directory / "empty").string();
  for (const std::string& program : {kCompare, kTrain}) {
    INFO(program);
    check_error(run(directory, program + " --colour"), 2, "--colour");
    check_error(run(directory, program + " --net resnet21"), 2, "resnet20");
    check_error(run(directory, program + " --lr -1"), 2, "--lr: -1 is not a positive number");
    check_error(run(directory, program + " --epochs some"), 2, "--epochs: some is not a positive");
    check_error(run(directory, program + " --recompute all"), 2, "recompute: 'all' is not one of");
    check_error(run(directory, program + " --limit -5"), 2, "--limit: -5 is neither zero nor");
    check_error(run(directory, program + " --data " + empty + "/none"), 1, "no such directory");
    check_error(run(directory, program + " --data " + empty), 1, "cifar-10");
    check_error(run(directory, program + " --out " + file + "/below"), 1, file);
    check_error(run(directory, program + " --json " + file + "/below"), 1, file);
    check_error(run(directory, program + " --json " + empty), 1, empty);
    check_error(run(directory, program + " --limit 32 --batch-size 33"), 1, "--batch-size");
    check_error(run(directory, program + " --shortcut C"), 2, "--shortcut");
    check_error(run(directory, program + " --init " + empty + "/none"), 1, "No such file");
    check_error(run(directory, program + " --init " + file), 1, file + ": byte 4: the file has 4");
  }
  check_error(run(directory, kTrain + " --mode fold"), 2, "fold");
  check_error(run(directory, kCompare + " --modes tune,fold"), 2, "fold");
  check_error(run(directory, kCompare + " --modes tune,tune"), 2, "twice");
}

TEST_CASE("a label that is no class is reported with its file") {
  const RunDirectory directory;
  std::ofstream(directory / "batches.meta.txt") << "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
  for (const char* name : {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4",
                           "data_batch_5", "test_batch"}) {
    std::ofstream(directory / (std::string(name) + ".bin"), std::ios::binary)
        << '\x0b' << std::string(3072, 'x');
  }
  check_error(run(directory, kTrain + " --data " + (directory / "").string()), 1,
              "data_batch_1.bin");
}

TEST_CASE("a class whose name no file of weights can hold is refused before training") {
  const RunDirectory directory;
  for (const std::string set : {"train", "test"}) {
    write_picture(directory, "set/" + set + "/caf\xe9/1.ppm");
  }
  check_error(run(directory, kTrain + " --batch-size 1 --data " + (directory / "set").string()), 1,
              "set/train: the name of a class is not UTF-8");
}

TEST_CASE("the lessons run and say what they should") {
  const RunDirectory directory;
  const Outcome second = run(directory, ATTUNE_LESSON_2);
  CHECK(second.exit_code == 0);
  CHECK(second.out.find("tune") != std::string::npos);
  const Outcome first = run(directory, ATTUNE_LESSON_1);
  CHECK(first.exit_code == 0);
  CHECK(first.out.find("200 of 200 points") != std::string::npos);
  check_error(run(directory, ATTUNE_LESSON_1 " --colour"), 2, "--colour");
}
