// deploy folds and unfolds files of weights, and writes ONNX models.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "attune/core/pytorch_layout.h"
#include "attune/core/safetensors.h"
#include "attune/layers/weights.h"
#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"

using namespace attune;
using namespace attune::test;

namespace {

const std::string kDeploy = ATTUNE_DEPLOY;
const SafetensorsMetadata kMetadata{{"attune.net", "resnet20"}, {"attune.classes", R"(["a","b"])"}};

}  // namespace

TEST_CASE("deploy folds a file and unfolds it again") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 2, kMetadata);
  const std::string folded = (directory / "d").string(), again = (directory / "u").string();
  const std::string json_path = (directory / "r.json").string();
  const Outcome deployed =
      run(directory, kDeploy + " --init " + file + " --out " + folded + " --json " + json_path);
  INFO(deployed.err);
  REQUIRE(deployed.exit_code == 0);
  CHECK(deployed.out.rfind("resnet20: deployed, ", 0) == 0);
  const auto json = nlohmann::json::parse(content(json_path));
  CHECK(json["deployed"] == true);
  CHECK(json["parameters"].get<int>() < json["parameters_before"].get<int>());
  CHECK(json["largest_difference"].get<double>() <= 1e-4 * json["largest_logit"].get<double>());

  const Weights weights = read_weights(folded);
  CHECK(weights.deployed());
  CHECK(weights.metadata.at("attune.mode") == "deploy");
  CHECK(weights.metadata.at("attune.classes") == kMetadata.at("attune.classes"));

  REQUIRE(run(directory, kDeploy + " --init " + folded + " --undeploy --out " + again).exit_code ==
          0);
  const Weights original = read_weights(file), back = read_weights(again);
  CHECK(!back.deployed());
  CHECK(!back.metadata.contains("attune.mode"));
  REQUIRE(back.tensors.size() == original.tensors.size());
  for (std::size_t i = 0; i < original.tensors.size(); ++i) {
    INFO(original.tensors[i].first);
    CHECK(back.tensors[i].first == original.tensors[i].first);
    const auto wanted = original.tensors[i].second.to_vector<double>();
    const auto found = back.tensors[i].second.to_vector<double>();
    double error = 0, largest = 0;
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      error = std::max(error, std::abs(found[k] - wanted[k]));
      largest = std::max(largest, std::abs(wanted[k]));
    }
    CHECK(error <= 1e-6 + 1e-5 * largest);  // beta, which is 0, is a difference now
  }
}

TEST_CASE("deploy writes an ONNX model, from either kind of file") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 2, kMetadata);
  const std::string folded = (directory / "d").string();
  const std::string first = (directory / "1.onnx").string(),
                    second = (directory / "2.onnx").string();
  const Outcome outcome = run(
      directory, kDeploy + " --init " + file + " --size 40 --onnx " + first + " --out " + folded);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.find("images [batch, 3, 40, 40]") != std::string::npos);
  CHECK(content(first).find("layer3.2.conv2.weight") != std::string::npos);
  const Outcome repeated =
      run(directory, kDeploy + " --init " + folded + " --size 40 --onnx " + second);
  CHECK(repeated.out.rfind("resnet20: deployed already, ", 0) == 0);
  CHECK(content(first) == content(second));
  // The file may say for what images it is.
  const std::string large =
      save_resnet20(directory, "l", 2, {{"attune.net", "resnet20"}, {"attune.size", "40"}});
  const Outcome sized = run(directory, kDeploy + " --init " + large + " --onnx " + second);
  CHECK(sized.out.find("images [batch, 3, 40, 40]") != std::string::npos);
}

TEST_CASE("what deploy cannot do is one clear line, and leaves no file") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 2);
  const std::string named = " --net resnet20 --init " + file, out = (directory / "o").string();
  check_error(run(directory, kDeploy + " --out " + out), 2, "--init");
  check_error(run(directory, kDeploy + named), 2, "nothing to write");
  check_error(run(directory, kDeploy + named + " --undeploy --onnx " + out), 2, "--undeploy");
  check_error(run(directory, kDeploy + named + " --undeploy --out " + out), 1, "is not deployed");
  check_error(run(directory, kDeploy + " --init " + file + " --out " + out), 1,
              "does not say which network it is of (--net NAME)");
  check_error(run(directory, kDeploy + " --init " + file + " --net resnet21 --out " + out), 2,
              "resnet20");
  check_error(run(directory, kDeploy + " --init " + file + " --net resnet32 --out " + out), 1,
              "missing: layer1.3.conv1.weight");
  const auto fitting = [&](const std::string& options, const std::string& wanted) {
    check_error(run(directory, kDeploy + " --init " + file + options + " --out " + out), 1,
                "(it fits " + wanted + ")\n");
  };
  fitting(" --net resnet20 --shortcut A", "--shortcut B");
  fitting(" --net resnet20 --stem imagenet", "--stem cifar");
  fitting(" --net resnet32", "--net resnet20");
  fitting(" --net resnet50 --shortcut A", "--net resnet20 --stem cifar --shortcut B");
  check_error(run(directory, kDeploy + named + " --onnx " + out + " --out " + out), 2,
              "two of --out, --onnx, --json name " + out);
  const std::string broken = (directory / "nan").string();
  Weights weights = read_weights(file);
  for (auto& [name, tensor] : weights.tensors) {
    if (name == "fc.bias") tensor.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  write_safetensors(broken, to_pytorch_layout(weights.tensors));
  check_error(run(directory, kDeploy + " --net resnet20 --init " + broken + " --out " + out), 1,
              broken + ": the network's output is not finite");
  check_error(run(directory, kDeploy + named + " --out " + file + "/below"), 1, file);
  check_error(run(directory, kDeploy + " --net resnet20 --init " + out + " --out " + out), 1,
              "No such file");
  CHECK(!std::filesystem::exists(out));
}
