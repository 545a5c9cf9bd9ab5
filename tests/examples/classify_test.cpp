// classify names what is in pictures.

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/examples/run_program.h"
#include "tests/examples/saved_network_files.h"

using namespace attune::test;

namespace {

const std::string kClassify = ATTUNE_CLASSIFY;

}  // namespace

TEST_CASE("classify lists the likeliest classes of each picture") {
  const RunDirectory directory;
  const std::string file =
      save_resnet20(directory, "w", 3,
                    {{"attune.net", "resnet20"}, {"attune.classes", R"(["ant","bee","cow"])"}});
  const std::string red = write_picture(directory, "red.ppm"),
                    blue = write_picture(directory, "blue.ppm", 5);
  const std::string json_path = (directory / "r.json").string();
  const Outcome outcome = run(
      directory, kClassify + " --init " + file + " --json " + json_path + " " + red + " " + blue);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(lines(outcome.out) == 8);
  CHECK(outcome.out.rfind(red + "\n", 0) == 0);
  const auto json = nlohmann::json::parse(content(json_path));
  REQUIRE(json["images"].size() == 2);
  CHECK(json["images"][1]["image"] == blue);
  double sum = 0, before = 1;
  for (const auto& entry : json["images"][0]["top"]) {
    const double probability = entry["probability"];
    CHECK(probability <= before);
    before = probability;
    sum += probability;
    CHECK(entry["class"] == std::vector<std::string>{"ant", "bee", "cow"}[entry["index"]]);
  }
  CHECK(std::abs(sum - 1) <= 1e-6);
  CHECK(json["images"][0]["top"] != json["images"][1]["top"]);

  // A deployed file gives the same answer.
  const std::string deployed = (directory / "d").string();
  REQUIRE(run(directory, std::string(ATTUNE_DEPLOY) + " --init " + file + " --out " + deployed)
              .exit_code == 0);
  const Outcome again = run(directory, kClassify + " --init " + deployed + " " + red + " " + blue);
  CHECK(again.out == outcome.out);
}

TEST_CASE("classes may be named by a file, or by nobody") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 3, {{"attune.net", "resnet20"}});
  const std::string picture = write_picture(directory, "p.ppm");
  const std::string names = (directory / "names.txt").string();
  std::ofstream(names) << "horse\r\nowl\nold cat\n\n";
  const std::string start = kClassify + " --init " + file + " " + picture;
  const Outcome nameless = run(directory, start + " --top 1");
  CHECK(lines(nameless.out) == 2);
  CHECK(nameless.out.find("class ") != std::string::npos);
  const Outcome named = run(directory, start + " --classes " + names);
  CHECK(named.out.find(" %  horse\n") != std::string::npos);
  CHECK(named.out.find(" %  old cat\n") != std::string::npos);
  std::ofstream(names) << "horse\nowl\n";
  check_error(run(directory, start + " --classes " + names), 1, "has 2 names, the network 3");
  check_error(run(directory, start + " --classes " + names + "x"), 1, names + "x");
}

TEST_CASE("bad input to classify is one clear line") {
  const RunDirectory directory;
  const std::string file = save_resnet20(directory, "w", 3, {{"attune.net", "resnet20"}});
  const std::string picture = write_picture(directory, "p.ppm");
  check_error(run(directory, kClassify + " --init " + file), 2, "IMAGE");
  check_error(run(directory, kClassify + " " + picture), 2, "--init");
  check_error(run(directory, kClassify + " --init " + file + " " + picture + ".png"), 1,
              picture + ".png");
  check_error(run(directory, kClassify + " --init " + picture + " " + picture), 1, "p.ppm: ");
  check_error(run(directory, kClassify + " --init " + file + " " + file), 1, file);
  check_error(run(directory, kClassify + " --init " + file + " --top 0 " + picture), 2, "--top");
  const std::string thin = (directory / "thin.pgm").string();
  std::ofstream(thin) << "P5 4000 1 255\n" << std::string(4000, 'x');
  check_error(run(directory, kClassify + " --init " + file + " " + thin), 1,
              thin + ": Resize: an image of 1x4000x3 would become 36x144000");
  // The right answers before the bad picture stay.
  const Outcome partly = run(directory, kClassify + " --init " + file + " " + picture + " " + file);
  CHECK(partly.exit_code == 1);
  CHECK(lines(partly.out) == 4);
}
