// The programs start from weights of elsewhere.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "attune/core/random.h"
#include "attune/layers/linear.h"
#include "attune/layers/models/make_model.h"
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
  std::string path = (directory / name).string();
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
    CHECK(run(directory, kTrain + kTiny + " --mode eval --init " + again).exit_code == 0);
    CHECK(run(directory, std::string(ATTUNE_EVALUATE) + " --limit 8 --init " + again).exit_code ==
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
  check_error(run(directory, kTrain + kTiny + " --init " + a), 1, "(it fits --shortcut A)\n");
  check_error(run(directory, kTrain + kTiny + " --shortcut A --init " + b), 1,
              "(it fits --shortcut B)\n");
}

TEST_CASE("a file of another network is an error that names the network") {
  const RunDirectory directory;
  const std::string file = (directory / "w").string();
  Generator generator{1, 0};
  save_weights(*make_model("mobilenet_v2", {.classes = 7}, generator), file);
  check_error(run(directory, kTrain + kTiny + " --init " + file), 1,
              "(it fits --net mobilenet_v2 --stem imagenet)\n");
  check_error(run(directory, kTrain + kTiny + " --net mobilenet_v2 --stem imagenet --init " + file),
              1, "--replace-head gives the network a new classifier");
  save_weights(*std::make_shared<Linear>(Linear::Options{.in_features = 2, .out_features = 2}),
               file);
  const Outcome outcome = run(directory, kTrain + kTiny + " --init " + file);
  check_error(outcome, 1, "unexpected: bias, weight");
  CHECK(outcome.err.find("it fits") == std::string::npos);
}

TEST_CASE("the file says which network it is of, unless options do") {
  const RunDirectory directory;
  const std::string file = (directory / "w").string();
  const std::string tiny =
      kTrain + " --limit 16 --batch-size 8 --progress off --epochs 1 --lr 1e-9";
  Generator generator{1, 0};
  const auto net = make_resnet(
      "resnet18", {.classes = 10, .stem = Stem::imagenet, .shortcut = ResNetShortcut::pad},
      generator);
  const auto save = [&](const SafetensorsMetadata& metadata) {
    save_weights(*net, file, {.metadata = metadata});
  };
  save({{"attune.net", "resnet18"}, {"attune.shortcut", "A"}, {"attune.stem", "imagenet"}});
  const std::string out = " --out " + (directory / "run").string();
  const Outcome outcome = run(directory, tiny + " --init " + file + out);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.rfind("resnet18 (", 0) == 0);
  const Weights weights = read_weights(directory / "run/weights.safetensors");
  CHECK(weights.metadata.at("attune.net") == "resnet18");
  CHECK(weights.metadata.at("attune.shortcut") == "A");
  CHECK(weights.metadata.at("attune.stem") == "imagenet");
  CHECK(weights.metadata.at("attune.size") == "32");
  CHECK(run(directory, kCompare + kTiny + " --steps 1 --modes tune --init " + file).exit_code == 0);
  // The checkpoint knows, too, wherever the file is now.
  std::filesystem::rename(file, file + "_elsewhere");
  const Outcome resumed = run(directory, tiny + " --resume auto --init " + file + out);
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(resumed.out.find(" at its end,") != std::string::npos);

  check_error(run(directory, tiny + " --net resnet20 --init " + file + "_elsewhere"), 1,
              "(it fits --net resnet18");
  save({{"attune.net", "alexnet"}});
  check_error(run(directory, tiny + " --init " + file), 1, "metadata attune.net is 'alexnet'");
  save({{"attune.net", "resnet18"}, {"attune.shortcut", "C"}});
  check_error(run(directory, tiny + " --init " + file), 1,
              file + ": metadata attune.shortcut is 'C', neither A nor B");
  for (const std::string size : {"0", "1025", "32x", ""}) {
    save({{"attune.net", "resnet18"}, {"attune.size", size}});
    check_error(run(directory, tiny + " --init " + file), 1,
                file + ": metadata attune.size is '" + size + "', not 1 to 1024 pixels");
  }
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
