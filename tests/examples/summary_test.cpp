// The program summary.

#include <nlohmann/json.hpp>
#include <string>

#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"

using namespace attune;
using namespace attune::test;

namespace {

const std::string kSummary = ATTUNE_SUMMARY;

nlohmann::json summary_json(const RunDirectory& directory, const std::string& arguments) {
  const std::string path = (directory / "r.json").string();
  const Outcome outcome = run(directory, kSummary + " " + arguments + " --json " + path);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  return nlohmann::json::parse(content(path));
}

}  // namespace

TEST_CASE("summary lists layers and predicts memory") {
  const RunDirectory directory;
  const Outcome outcome = run(directory, kSummary + " --net resnet18 --batch-size 1,4");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.rfind("resnet18\n", 0) == 0);
  CHECK(outcome.out.find("layer4.1.conv2 ") != std::string::npos);
  CHECK(outcome.out.find("11,689,512") != std::string::npos);
  CHECK(outcome.out.find("from 5 images on") != std::string::npos);

  const auto json = summary_json(directory, "--net resnet18 --batch-size 1,4");
  CHECK(json["parameters"] == 11689512);
  CHECK(json["flops"] == 2 * 1814073344LL);
  CHECK(json["layers"].size() == 21);
  CHECK(json["saved_bytes"][1]["batch_size"] == 4);
  CHECK(json["published_break_even"] == 5);
  for (const auto& entry : json["saved_bytes"]) {
    CHECK(entry["tune"] == entry["deploy"]);
    CHECK(entry["published_tune"].get<std::int64_t>() ==
          entry["tune"].get<std::int64_t>() + json["folded_filter_bytes"].get<std::int64_t>());
  }
  CHECK(json["saved_bytes"][0]["published_tune"] > json["saved_bytes"][0]["eval"]);
}

TEST_CASE("summary takes sizes, classes and files") {
  const RunDirectory directory;
  CHECK(summary_json(directory, "--net resnet20 --classes 7")["layers"].back()["output"][1] == 7);
  const auto small = summary_json(directory, "--net mobilenet_v2 --stem cifar --batch-size 2");
  CHECK(small["size"] == 32);
  CHECK(summary_json(directory, "--net mobilenet_v2 --size 64")["size"] == 64);
  const std::string file = save_resnet20(directory, "w", 6, {{"attune.net", "resnet20"}}, true);
  const auto saved = summary_json(directory, "--init " + file);
  CHECK(saved["net"] == "resnet20");
  CHECK(saved["classes"] == 6);
}

TEST_CASE("bad input to summary is one clear line") {
  const RunDirectory directory;
  check_error(run(directory, kSummary), 2, "--net");
  check_error(run(directory, kSummary + " --net resnet21"), 2, "resnet20");
  check_error(run(directory, kSummary + " --net resnet20 --batch-size 0"), 2, "--batch-size");
  check_error(run(directory, kSummary + " --net resnet20 --batch-size 4,x"), 2, "--batch-size");
  check_error(run(directory, kSummary + " --net mobilenet_v2 --shortcut A"), 2, "for ResNets");
  check_error(run(directory, kSummary + " --net vgg11_bn --size 100"), 1, "Vgg");
}
