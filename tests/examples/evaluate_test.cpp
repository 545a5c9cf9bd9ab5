// What evaluate counts, and the program.

#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "attune/core/ops/ops.h"
#include "attune/core/safetensors.h"
#include "evaluate/evaluation.h"
#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"

using namespace attune;
using namespace attune::examples;
using namespace attune::test;

namespace {

const std::string kEvaluate = ATTUNE_EVALUATE;
const std::string kQuiet = " --progress off";

/// Its logits are the channels of the only pixel.
class Channels final : public Module {
 public:
  Tensor forward(const Tensor& x) override { return reshape(x, {x.size(0), x.size(3)}); }
};

/// Images of one pixel, whose channels are the logits.
Evaluation evaluated(const std::vector<std::vector<std::uint8_t>>& logits,
                     const std::vector<std::int64_t>& labels) {
  const std::size_t classes = logits[0].size();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < classes; ++i) names.push_back("c" + std::to_string(i));
  std::vector<std::uint8_t> pixels;
  for (const auto& row : logits) pixels.insert(pixels.end(), row.begin(), row.end());
  const auto images = std::make_shared<InMemoryDataset>(
      "pixels", names, ImageSize{1, 1, static_cast<std::int64_t>(classes)}, pixels, labels);
  Channels net;
  std::ostringstream unused;
  Progress progress("", images->size(), "images", unused, false, false);
  return evaluate(net, DataLoader(images, {}, {.batch_size = 2}), names, progress);
}

}  // namespace

TEST_CASE("an evaluation counts who is taken for whom") {
  const Evaluation e = evaluated({{9, 1, 2, 3, 4, 5, 6},   // 0, named right
                                  {1, 9, 2, 3, 4, 5, 6},   // 0 taken for 1; last but for none
                                  {5, 9, 1, 4, 4, 4, 4},   // 0 taken for 1, but second
                                  {0, 0, 9, 0, 0, 0, 0},   // 2, named right
                                  {7, 7, 7, 7, 7, 7, 7}},  // 5, of equals the sixth
                                 {0, 0, 0, 2, 5});
  CHECK(e.images() == 5);
  CHECK(e.right() == 2);
  CHECK(e.top1() == 0.4);
  CHECK(e.among_five == 3);
  CHECK(e.top5() == 0.6);
  CHECK(e.confusion[0] == std::vector<std::int64_t>{1, 2, 0, 0, 0, 0, 0});
  CHECK(e.confusion[5] == std::vector<std::int64_t>{1, 0, 0, 0, 0, 0, 0});
  CHECK(e.images_of(0) == 3);
  CHECK(e.accuracy_of(2) == 1);
  CHECK(std::isnan(e.accuracy_of(1)));
  CHECK(to_json(e)["classes"][1]["accuracy"].is_null());

  // Cross-entropy with logits from 0 to 9 / 255, by hand for the images that are alike: the last.
  const Evaluation alike = evaluated({{7, 7, 7, 7}, {7, 7, 7, 7}, {7, 7, 7, 7}}, {0, 1, 3});
  CHECK(std::abs(alike.loss() - std::log(4.0)) <= 1e-6);
}

TEST_CASE("many classes are told by the pairs that are confused most") {
  std::vector<std::uint8_t> row(kMaxMatrix + 1, 0);
  row[3] = 9;
  const std::string text = to_text(evaluated({row, row, row}, {7, 7, 3}));
  CHECK(text.find("c7  ") != std::string::npos);
  CHECK(text.find("is  taken for  images\n") != std::string::npos);
  CHECK(text.find("c7         c3       2\n") != std::string::npos);
  const std::string perfect = to_text(evaluated({row}, {3}));
  CHECK(perfect.find("no image is taken for another class") != std::string::npos);
}

TEST_CASE("evaluate tests a file in three modes, which agree") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 10, {{"attune.net", "resnet20"}});
  const std::string json_path = (directory / "r.json").string();
  nlohmann::json first;
  for (const std::string mode : {"eval", "tune", "deploy"}) {
    INFO(mode);
    const Outcome outcome = run(directory, kEvaluate + kQuiet + " --limit 50 --init " + file +
                                               " --mode " + mode + " --json " + json_path);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(outcome.err.empty());
    CHECK(outcome.out.rfind(
              "resnet20 in mode " + mode + " on synthetic shapes, source domain (cpu, fp32)\n",
              0) == 0);
    CHECK(outcome.out.find("is \\ taken for") != std::string::npos);
    auto json = nlohmann::json::parse(content(json_path));
    CHECK(json["settings"]["mode"] == mode);
    CHECK(json["images"] == 50);
    if (first.is_null()) first = json;
    CHECK(json["confusion"] == first["confusion"]);
    CHECK(std::abs(json["loss"].get<double>() - first["loss"].get<double>()) <= 1e-5);
  }
  // Other statistics are other images.
  const Outcome other = run(directory, kEvaluate + kQuiet + " --limit 50 --init " + file +
                                           " --normalize 0.5:0.25 --json " + json_path);
  REQUIRE(other.exit_code == 0);
  const auto json = nlohmann::json::parse(content(json_path));
  CHECK(json["settings"]["normalize"] == "0.5,0.5,0.5:0.25,0.25,0.25");
  CHECK(json["loss"] != first["loss"]);
}

TEST_CASE("evaluate reads a folder of images, and statistics and classes from the file") {
  const RunDirectory directory;
  for (const std::string name : {"red", "blue"}) {
    write_picture(directory, "pictures/" + name + "/1.ppm", name == "red" ? 250 : 5);
    write_picture(directory, "pictures/" + name + "/2.ppm", name == "red" ? 240 : 10);
  }
  const std::string folder = (directory / "pictures").string();
  const std::string json_path = (directory / "r.json").string();
  const std::string good = save_resnet20(directory, "w", 2,
                                         {{"attune.net", "resnet20"},
                                          {"attune.classes", R"(["blue","red"])"},
                                          {"attune.normalize", "0.5:0.5"}});
  const Outcome outcome = run(directory, kEvaluate + kQuiet + " --init " + good + " --data " +
                                             folder + " --json " + json_path);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const auto json = nlohmann::json::parse(content(json_path));
  CHECK(json["images"] == 4);
  CHECK(json["classes"][0]["class"] == "blue");
  CHECK(json["settings"]["normalize"] == "0.5,0.5,0.5:0.5,0.5,0.5");

  // The test folder of a data set is found.
  std::filesystem::create_directories(directory / "set");
  std::filesystem::rename(directory / "pictures", directory / "set/test");
  CHECK(run(directory,
            kEvaluate + kQuiet + " --init " + good + " --data " + (directory / "set").string())
            .exit_code == 0);

  const std::string test = (directory / "set/test").string();
  const std::string cats = save_resnet20(
      directory, "c", 2, {{"attune.net", "resnet20"}, {"attune.classes", R"(["cat","dog"])"}});
  check_error(run(directory, kEvaluate + kQuiet + " --init " + cats + " --data " + test), 1, "cat");
  const std::string three = save_resnet20(directory, "3", 3, {{"attune.net", "resnet20"}});
  check_error(run(directory, kEvaluate + kQuiet + " --init " + three + " --data " + test), 1,
              "the network has 3 classes, the images");
}

TEST_CASE("bad input to evaluate is one clear line") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 10, {{"attune.net", "resnet20"}});
  const std::string start = kEvaluate + kQuiet + " --init " + file;
  check_error(run(directory, kEvaluate), 2, "--init");
  check_error(run(directory, start + " --mode train"), 2, "--mode");
  check_error(run(directory, start + " --normalize 0.5"), 2, "MEAN:STD");
  check_error(run(directory, start + " --normalize 0.5:0"), 2, "STD > 0");
  check_error(run(directory, start + " --data " + (directory / "none").string()), 1,
              "no such directory");
  check_error(run(directory, start + " --json " + file + "/below"), 1, file);
  const std::string odd =
      save_resnet20(directory, "o", 10, {{"attune.net", "resnet20"}, {"attune.classes", "[1]"}});
  check_error(run(directory, kEvaluate + kQuiet + " --init " + odd), 1, "no list of 10 names");
  const std::string unknown = save_resnet20(directory, "u", 10, {{"attune.net", "alexnet"}});
  check_error(run(directory, kEvaluate + kQuiet + " --init " + unknown), 1,
              unknown + ": metadata attune.net is 'alexnet', which is none of resnet18,");
  const std::string grey =
      save_resnet20(directory, "g", 10, {{"attune.net", "resnet20"}, {"attune.normalize", "grey"}});
  check_error(run(directory, kEvaluate + kQuiet + " --init " + grey), 1,
              grey + ": metadata attune.normalize: grey is neither");
  check_error(run(directory, start + " --limit -1"), 2, "--limit: -1 is neither zero nor");
  CHECK(run(directory, start + " --limit 100000").exit_code == 0);
  // A classifier for more classes than any memory holds, which takes no byte of the file.
  const std::string many = (directory / "many").string();
  write_safetensors(many, {{"fc.weight", Tensor::empty({std::int64_t{1} << 33, 0})}});
  check_error(run(directory, kEvaluate + kQuiet + " --net resnet20 --init " + many), 1,
              many + ": has no classifier");
  write_safetensors(many, {{"fc.weight", Tensor::zeros({1'000'000, 1})}});
  check_error(run(directory, kEvaluate + kQuiet + " --net resnet20 --init " + many), 1,
              "missing: conv1.weight");
}
