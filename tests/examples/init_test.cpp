// The programs start from weights of elsewhere.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "attune/core/random.h"
#include "attune/layers/models/resnet.h"
#include "attune/layers/weights.h"
#include "tests/catch.h"
#include "tests/examples/run_program.h"

using namespace attune;
using namespace attune::test;

namespace {

const std::string kTrain = ATTUNE_TRAIN_RESNET;
const std::string kCompare = ATTUNE_COMPARE_MODES;
const std::string kTiny = " --limit 32 --batch-size 8 --progress off --epochs 1 --lr 1e-9";

/// A file as PyTorch users have them, and its name.
std::string write_weights(const RunDirectory& directory, const std::string& name,
                          std::int64_t classes, ResNetShortcut shortcut, bool deployed = false) {
  Generator generator{1, 0};
  const auto net = make_resnet("resnet20", {.classes = classes, .shortcut = shortcut}, generator);
  if (deployed) net->deploy();
  const std::string path = (directory / name).string();
  save_weights(*net, path, {.head = "linear"});
  return path;
}

bool says(const Outcome& outcome, const std::string& part) {
  return outcome.out.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("train_resnet starts from a file, in Tune mode") {
  const RunDirectory directory;
  const std::string file = write_weights(directory, "w", 10, ResNetShortcut::pad);
  const Outcome tuned = run(directory, kTrain + kTiny + " --shortcut A --init " + file + " --out " +
                                           (directory / "run").string());
  INFO(tuned.err);
  REQUIRE(tuned.exit_code == 0);
  CHECK(says(tuned, "\nmode tune (cpu, fp32), from " + file + ", learning rate up to 1e-09\n"));
  // What it leaves can be started from as well, and knows what it is.
  const Weights weights = read_weights(directory / "run/weights.safetensors");
  CHECK(weights.metadata.at("attune.net") == "resnet20");
  CHECK(weights.metadata.at("attune.shortcut") == "A");
  CHECK(weights.metadata.at("attune.stem") == "cifar");
  CHECK(nlohmann::json::parse(weights.metadata.at("attune.classes")).size() == 10);
  for (const std::string name : {"weights", "checkpoint"}) {
    const std::string again = (directory / ("run/" + name + ".safetensors")).string();
    CHECK(run(directory, kTrain + kTiny + " --shortcut A --mode eval --init " + again).exit_code ==
          0);
  }
  const auto settings = nlohmann::json::parse(content(directory / "run/summary.json"))["settings"];
  CHECK(settings["mode"] == "tune");
  CHECK(settings["init"] == file);
  CHECK(settings["shortcut"] == "A");
  // A mode that is asked for is the mode.
  const Outcome asked =
      run(directory, kTrain + kTiny + " --shortcut A --mode train --init " + file);
  CHECK(says(asked, "\nmode train (cpu, fp32), from "));
}

TEST_CASE("a file for other classes needs a new head") {
  const RunDirectory directory;
  const std::string file = write_weights(directory, "w", 100, ResNetShortcut::projection);
  check_error(run(directory, kTrain + kTiny + " --init " + file), 1,
              "--replace-head gives the network a new classifier");
  const Outcome replaced = run(directory, kTrain + kTiny + " --replace-head --init " + file);
  CHECK(replaced.exit_code == 0);
  CHECK(says(replaced, "with a new head: 10 classes instead of 100"));
}

TEST_CASE("a file of the other kind of shortcut is an error that names the option") {
  const RunDirectory directory;
  const std::string a = write_weights(directory, "a", 10, ResNetShortcut::pad);
  const std::string b = write_weights(directory, "b", 10, ResNetShortcut::projection);
  check_error(run(directory, kTrain + kTiny + " --init " + a), 1, "--shortcut A?");
  check_error(run(directory, kTrain + kTiny + " --shortcut A --init " + b), 1, "--shortcut B?");
}

TEST_CASE("a deployed file is unfolded") {
  const RunDirectory directory;
  const std::string file = write_weights(directory, "d", 10, ResNetShortcut::projection, true);
  CHECK(run(directory, kTrain + kTiny + " --init " + file).exit_code == 0);
}

TEST_CASE("compare_modes starts from a file") {
  const RunDirectory directory;
  const std::string file = write_weights(directory, "other.st", 100, ResNetShortcut::projection);
  const Outcome compared = run(directory, kCompare + kTiny + " --steps 2 --replace-head --init " +
                                              file + " --out " + (directory / "run").string());
  INFO(compared.err);
  REQUIRE(compared.exit_code == 0);
  CHECK(
      says(compared, "from other.st, fine-tuned on synthetic shapes, target domain (cpu, fp32)\n"));
  const auto json = nlohmann::json::parse(content(directory / "run/summary.json"));
  CHECK(json["source_accuracy"].is_null());
  CHECK(json["modes"]["tune"]["loss"][0].get<double>() > 0);
  check_error(run(directory, kCompare + kTiny + " --init " + file), 1, "--replace-head");
}
