// The detector of scripts/reproduce: boxes and how they are judged, scenes, targets, losses.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attune/core/autograd.h"
#include "attune/core/grad_check.h"
#include "attune/core/graph_report.h"
#include "attune/core/ops/ops.h"
#include "attune/core/random.h"
#include "attune/data/synthetic_shapes.h"
#include "attune/layers/models/resnet.h"
#include "paper/claim.h"
#include "paper/detection/boxes.h"
#include "paper/detection/detector.h"
#include "paper/detection/loss.h"
#include "paper/detection/picture.h"
#include "paper/detection/scenes.h"
#include "tests/catch.h"
#include "tests/examples/xml_check.h"
#include "tests/test_util.h"

using namespace attune;
using namespace attune::examples;

namespace {

bool near(double a, double b, double tolerance = 1e-12) { return std::abs(a - b) <= tolerance; }

bool equal_boxes(const Box& a, const Box& b, double tolerance) {
  return near(a.left, b.left, tolerance) && near(a.top, b.top, tolerance) &&
         near(a.right, b.right, tolerance) && near(a.bottom, b.bottom, tolerance);
}

/// A box of 10 x 10 pixels.
Box square(double left, double top) { return {left, top, left + 10, top + 10}; }

}  // namespace

TEST_CASE("detection: overlap is intersection over union") {
  CHECK(overlap({0, 0, 2, 2}, {1, 1, 3, 3}) == 1.0 / 7);
  CHECK(overlap({0, 0, 4, 4}, {1, 1, 3, 3}) == 0.25);
  CHECK(overlap({0, 0, 4, 2}, {0, 0, 4, 2}) == 1);
  CHECK(overlap({0, 0, 2, 2}, {2, 0, 4, 2}) == 0);   // side by side
  CHECK(overlap({0, 0, 2, 2}, {5, 5, 7, 7}) == 0);   // both differences negative
  CHECK(overlap({0, 0, 10, 1}, {4, 5, 5, 9}) == 0);  // apart in one direction only
}

TEST_CASE("detection: repeated detections are dropped, the best ones stay") {
  // The second overlaps the first by 9/11, the third by 5/15, the fourth is of another class.
  const std::vector<Detection> kept = suppress_repeated({{square(1, 0), 0, 0.8},
                                                         {square(0, 0), 0, 0.9},
                                                         {square(0, 5), 0, 0.7},
                                                         {square(0, 0), 1, 0.6}},
                                                        0.5);
  REQUIRE(kept.size() == 3);
  CHECK(kept[0].score == 0.9);
  CHECK(kept[1].score == 0.7);
  CHECK(kept[2].label == 1);
  // What has been dropped drops nothing: (2, 0) overlaps only (1, 0) by more than 0.7.
  CHECK(suppress_repeated({{square(0, 0), 0, 0.9}, {square(1, 0), 0, 0.8}, {square(2, 0), 0, 0.7}},
                          0.7)
            .size() == 2);
}

TEST_CASE("detection: average precision of a case counted by hand") {
  const Truth truth{{{square(0, 0), 0}, {square(50, 50), 0}}, {{square(20, 20), 0}}};
  const Detections found{{{square(0, 1), 0, 0.9},      // right
                          {square(1, 0), 0, 0.6}},     // the same object again
                         {{square(60, 60), 0, 0.8},    // nothing there
                          {square(20, 22), 0, 0.7}}};  // right
  // Precision 1, 1/2, 2/3, 1/2 at recall 1/3, 1/3, 2/3, 2/3.
  CHECK(near(average_precision(found, truth, 0), 1.0 / 3 + 1.0 / 3 * 2 / 3));
  // The overlaps are 9/11 and 8/12.
  CHECK(near(average_precision(found, truth, 0, 0.7), 1.0 / 3));
  CHECK(average_precision(found, truth, 0, 0.9) == 0);
  CHECK(std::isnan(average_precision(found, truth, 1)));
}

TEST_CASE("detection: precision at a recall is the largest at that recall or above") {
  const Truth truth{{{square(0, 0), 0}, {square(30, 0), 0}}};
  const Detections found{
      {{square(60, 0), 0, 0.9}, {square(0, 0), 0, 0.8}, {square(30, 0), 0, 0.7}}};
  CHECK(near(average_precision(found, truth, 0), 2.0 / 3));  // 0, 1/2, 2/3
}

TEST_CASE("detection: an object is found once, by who overlaps it most") {
  // Both detections overlap the first object most; the second one the other object, too, by 2/3.
  const Truth truth{{{{0, 0, 30, 10}, 0}, {{10, 0, 40, 10}, 0}}};
  const Detections found{{{{0, 0, 30, 10}, 0, 0.9}, {{4, 0, 34, 10}, 0, 0.8}}};
  CHECK(near(overlap(found[0][1].box, truth[0][1].box), 2.0 / 3));
  CHECK(near(average_precision(found, truth, 0), 0.5));
}

TEST_CASE("detection: the mean is over the classes that occur") {
  const Truth truth{{{square(0, 0), 0}, {square(20, 0), 2}, {square(40, 0), 3}}};
  const Detections found{{{square(0, 0), 0, 0.9},
                          {square(60, 0), 1, 0.9},
                          {square(60, 0), 2, 0.9},
                          {square(20, 0), 2, 0.5},
                          {square(40, 0), 0, 0.3}}};
  CHECK(near(mean_average_precision(found, truth, 5), (1 + 0.5 + 0) / 3));
  CHECK(std::isnan(mean_average_precision({{}}, {{}}, 5)));
}

TEST_CASE("detection: scenes have their objects where they say") {
  // Images of one colour each: class i is i + 1 tenths grey.
  constexpr std::int64_t kClasses = 4;
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> labels;
  for (std::int64_t label = 0; label < kClasses; ++label) {
    pixels.insert(pixels.end(), 8 * 8 * 3, static_cast<std::uint8_t>(25 * (label + 1)));
    labels.push_back(label);
  }
  const auto images = std::make_shared<InMemoryDataset>(
      "greys", std::vector<std::string>{"a", "b", "c", "d"}, ImageSize{8, 8, 3}, pixels, labels);
  const ChannelStatistics statistics{{0.5, 0.25, 0}, {0.5, 1, 2}};
  const SceneOptions options{.side = 64, .smallest = 10, .largest = 20, .most_objects = 3};
  const Scenes scenes(images, statistics, options, 7);
  std::vector<std::int64_t> counts(4, 0), seen(kClasses, 0);
  for (std::int64_t i = 0; i < 50; ++i) {
    const Scene scene = scenes.draw(i);
    CHECK(scene.image.size == ImageSize{64, 64, 3});
    ++counts.at(scene.objects.size());
    for (std::size_t o = 0; o < scene.objects.size(); ++o) {
      const auto& [box, label] = scene.objects[o];
      ++seen.at(static_cast<std::size_t>(label));
      CHECK((box.left >= 0 && box.top >= 0 && box.right <= 64 && box.bottom <= 64));
      const double side = std::sqrt(box.area());
      CHECK((side >= 9.5 && side <= 20.5));  // whole pixels
      for (std::size_t other = 0; other < o; ++other) {
        CHECK(overlap(box, scene.objects[other].box) == 0);
      }
      const auto grey = static_cast<float>(25 * (label + 1)) / 255;
      for (auto y = static_cast<std::int64_t>(box.top); y < box.bottom; ++y) {
        for (auto x = static_cast<std::int64_t>(box.left); x < box.right; ++x) {
          if (!near(*scene.image.at(y, x), grey, 1e-6)) FAIL("not the object at " << x << " " << y);
        }
      }
    }
  }
  CHECK(counts[0] == 0);
  for (const std::size_t count : {1U, 2U, 3U}) CHECK(counts[count] > 0);
  CHECK(*std::min_element(seen.begin(), seen.end()) > 0);

  const SceneBatch batch = scenes.batch(3, 2);
  CHECK(batch.images.shape() == Shape{2, 64, 64, 3});
  const Scene second = scenes.draw(4);
  const std::vector<float> values = batch.images.to_vector<float>();
  const float* const pixel = values.data() + (64 + 10) * 64 * 3;  // row 10, column 0
  for (std::size_t c = 0; c < 3; ++c) {
    const double expected =
        (second.image.at(10, 0)[c] - statistics.mean[c]) / statistics.deviation[c];
    CHECK(near(pixel[c], expected, 1e-5));
  }
  REQUIRE(batch.objects.size() == 2);
  CHECK(batch.objects[1].size() == second.objects.size());
  CHECK(scenes.draw(4).image.pixels == second.image.pixels);
  CHECK(scenes.draw(5).image.pixels != second.image.pixels);
  CHECK(Scenes(images, statistics, options, 8).draw(4).image.pixels != second.image.pixels);
}

TEST_CASE("detection: locations near the middle of an object belong to it") {
  // A stride is two pixels; locations are at 0.5, 1.5, ... strides. The object is at 0 to 3.
  const Targets targets = assign({{{{0, 0, 6, 6}, 1}}, {}}, {2, 8, 8, 6}, 16, DType::float64);
  CHECK(targets.count == 9);
  CHECK(targets.classes.shape() == Shape{2, 8, 8, 2});
  const auto inside = targets.inside.to_vector<double>();
  const auto classes = targets.classes.to_vector<double>();
  const auto distances = targets.distances.to_vector<double>();
  for (std::size_t i = 0; i < inside.size(); ++i) {
    const bool within = i < 64 && i / 8 < 3 && i % 8 < 3;
    CHECK(inside[i] == (within ? 1 : 0));
    CHECK(classes[2 * i] == 0);
    CHECK(classes[2 * i + 1] == inside[i]);
    if (!within) CHECK(distances[4 * i] == 1);
  }
  const std::size_t i = 2 * 8 + 0;  // third row, first column
  CHECK(std::vector<double>(&distances[4 * i], &distances[4 * i] + 4) ==
        std::vector<double>{0.5, 2.5, 2.5, 0.5});

  // Of an object of eight strides only what is within 1.5 strides of its middle, at 4; and where a
  // smaller object lies on it, at 3 to 5, that one.
  const Truth nested{{{{6, 6, 10, 10}, 0}, {{0, 0, 16, 16}, 1}}};
  const Targets two = assign(nested, {1, 8, 8, 6}, 16);
  CHECK(two.count == 16);
  CHECK(sum(slice(two.classes, 3, 0, 1)).item() == 4);
  CHECK(sum(slice(two.classes, 3, 1, 2)).item() == 12);
  CHECK(assign({{}}, {1, 8, 8, 6}, 16).count == 0);
}

TEST_CASE("detection: focal loss has the values of its formula") {
  const auto loss = [](double logit, double target) {
    return focal_loss(Tensor::scalar(logit, DType::float64), Tensor::scalar(target, DType::float64))
        .item();
  };
  CHECK(near(loss(0, 1), 0.25 * 0.25 * std::log(2)));
  CHECK(near(loss(0, 0), 0.75 * 0.25 * std::log(2)));
  for (const double z : {-3.0, -0.5, 2.0}) {
    const double p = 1 / (1 + std::exp(-z));
    CHECK(near(loss(z, 1), -0.25 * (1 - p) * (1 - p) * std::log(p)));
    CHECK(near(loss(z, 0), -0.75 * p * p * std::log(1 - p)));
  }
  CHECK(loss(1000, 1) == 0);
  CHECK(loss(1000, 0) == 750);
  CHECK(loss(-1000, 1) == 250);
  const Tensor logits = Tensor::from(std::vector<double>{0, 0, 0}, {3});
  const Tensor targets = Tensor::from(std::vector<double>{1, 0, 0}, {3});
  CHECK(near(focal_loss(logits, targets).item(), (0.25 + 2 * 0.75) * 0.25 * std::log(2)));
}

TEST_CASE("detection: the loss of a box is the logarithm of its overlap") {
  const Tensor boxes = Tensor::from(std::vector<double>{1, 1, 1, 1, 1, 2, 3, 1}, {2, 4});
  const Tensor targets = Tensor::from(std::vector<double>{2, 2, 2, 2, 2, 1, 1, 2}, {2, 4});
  const Tensor loss = overlap_loss(boxes, targets);
  CHECK(loss.shape() == Shape{2, 1});
  // 4 of 16; and 4 of 12 + 9 - 4.
  CHECK(near(loss.to_vector<double>()[0], std::log(4)));
  CHECK(near(loss.to_vector<double>()[1], std::log(17.0 / 4)));
  CHECK(near(overlap_loss(targets, targets).to_vector<double>()[1], 0));
}

TEST_CASE("detection: the loss counts boxes only where objects are, and has the right gradient") {
  const Truth objects{{{{1, 2, 12, 9}, 1}}, {{{5, 5, 15, 14}, 0}, {{0, 0, 4, 4}, 2}}};
  const Shape shape{2, 4, 4, 3 + 4};
  const Targets targets = assign(objects, shape, 16, DType::float64);
  REQUIRE(targets.count > 2);
  const Tensor output = Tensor::from(test::random_vector<double>(shape.count(), 3), shape);
  const auto result = grad_check(
      [&](const std::vector<Tensor>& in) { return detection_loss(in[0], targets); }, {output});
  INFO(result.message);
  CHECK(result.ok);

  Tensor leaf = output.clone();
  leaf.set_requires_grad();
  detection_loss(leaf, targets).backward();
  const auto inside = targets.inside.to_vector<double>();
  const auto boxes = slice(leaf.grad(), 3, 3, 7).to_vector<double>();
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    if (inside[i / 4] == 0) CHECK(boxes[i] == 0);
  }
  // Without any object the classes' part is left, not divided by zero.
  const Targets none = assign({{}, {}}, shape, 16, DType::float64);
  CHECK(near(detection_loss(output, none).item(),
             focal_loss(slice(output, 3, 0, 3), none.classes).item()));
}

TEST_CASE("detection: what the targets say is decoded to the objects") {
  const Truth objects{{{{8, 4, 40, 30}, 1}, {{44, 30, 64, 60}, 0}}, {{{0, 20, 21, 50}, 2}}};
  const Shape shape{2, 8, 8, 3 + 4};
  const Targets targets = assign(objects, shape, 64);
  // Logits of 4 and -4, and the logarithms of the distances.
  const Tensor output = concatenate({targets.classes * 8.0 - 4.0, log(targets.distances)}, 3);
  const Detections found = decode(output, 64);
  REQUIRE(found.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE(found[i].size() == objects[i].size());
    for (const Object& object : objects[i]) {
      const bool there =
          std::any_of(found[i].begin(), found[i].end(), [&](const Detection& detection) {
            return detection.label == object.label &&
                   equal_boxes(detection.box, object.box, 1e-3) &&
                   near(detection.score, 1 / (1 + std::exp(-4)), 1e-6);
          });
      CHECK(there);
    }
  }
  CHECK(mean_average_precision(found, objects, 3) == 1);
  CHECK(decode(output, 64, {.least_score = 0.99})[0].empty());
  // Boxes end where the image does.
  const Tensor far = concatenate({targets.classes * 8.0 - 4.0, log(targets.distances) + 9.0}, 3);
  CHECK(equal_boxes(decode(far, 64)[1][0].box, {0, 0, 64, 64}, 0));
}

TEST_CASE(
    "detection: a detector is the same function in all modes, and Tune keeps Deploy's bytes") {
  Generator generator{.seed = 3};
  const auto net = std::make_shared<Detector>(resnet20({}, generator), 10, generator);
  const Scenes scenes(std::make_shared<SyntheticShapes>(Domain::target, Split::test, 20),
                      synthetic_shapes_statistics(), {.side = 64, .smallest = 16, .largest = 24},
                      1);
  const SceneBatch batch = scenes.batch(0, 2);
  std::vector<std::int64_t> bytes;
  std::vector<std::vector<float>> outputs;
  const auto look = [&] {
    const Tensor output = (*net)(batch.images);
    CHECK(output.shape() == Shape{2, 8, 8, 14});
    outputs.push_back(output.to_vector<float>());
    const Tensor loss = detection_loss(output, assign(batch.objects, output.shape(), 64));
    bytes.push_back(saved_bytes(loss, {batch.images}));
  };
  look();  // Eval is how it begins
  net->set_mode(Mode::tune);
  look();
  net->deploy();
  look();
  CHECK(test::relative_error(outputs[1], outputs[0]) <= 1e-5);
  CHECK(test::relative_error(outputs[2], outputs[0]) <= 1e-5);
  CHECK(bytes[1] == bytes[2]);
  CHECK(bytes[1] < bytes[0]);
  // Where there is nothing to see, every class has the probability it begins with.
  const Tensor logits = slice((*net)(Tensor::zeros({1, 64, 64, 3})), 3, 0, 10);
  for (const double logit : logits.to_vector<double>()) {
    CHECK(near(1 / (1 + std::exp(-logit)), 0.01, 1e-6));
  }
}

TEST_CASE("detection: pictures are well-formed and tell right from wrong") {
  const auto encoded = [](const std::string& text) {
    return base64({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  };
  // RFC 4648, section 10.
  CHECK(encoded("").empty());
  CHECK(encoded("f") == "Zg==");
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foobar") == "Zm9vYmFy");
  CHECK(encoded("\xff\xfe\xfd") == "//79");

  const Image grey{{8, 8, 3}, std::vector<float>(8 * 8 * 3, 0.5F)};
  const std::string file = jpeg_base64(grey);
  CHECK(file.substr(0, 3) == "/9j");  // FF D8 FF
  const Strip strip{
      .side = 8, .scenes = {file}, .objects = {{{{0, 0, 4, 4}, 0}}}, .classes = {"a < b", "c"}};
  const std::string svg = to_svg(strip,
                                 {{"Eval", {{{{0, 0, 4, 4}, 0, 0.9}}}},
                                  {"Tune", {{{{0, 0, 4, 4}, 1, 0.8}, {{4, 4, 8, 8}, 0, 0.1}}}}},
                                 0.3);
  CHECK(test::xml_error(svg) == "");
  const auto count = [&](const std::string& part) {
    int times = 0;
    for (std::size_t at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) {
      ++times;
    }
    return times;
  };
  CHECK(count("stroke-dasharray") == 2);  // the object, twice
  CHECK(count("#56b4e9") == 1);
  CHECK(count("#ff5a36") == 1);  // the other one is below the least score
  CHECK(count(file) == 1);       // once, however many answers
}

TEST_CASE("detection: findings fail where they should") {
  const auto row = [](const char* mode, double map, double difference, int bytes, int peak) {
    return Row{{"table", "modes"},
               {"side", 64},
               {"steps", 800},
               {"seed", 1},
               {"mode", mode},
               {"map", map},
               {"loss_difference", difference},
               {"failed", false},
               {"ms", 1},
               {"saved_bytes", bytes},
               {"peak_bytes", peak},
               {"boxes", Row::array()}};
  };
  const auto findings = [&](double eval_map, double tune_map, double difference, int tune_bytes,
                            int tune_peak) {
    const Report report =
        detection_claim().report({row("eval", eval_map, 0, 200, 300),
                                  row("tune", tune_map, difference, tune_bytes, tune_peak),
                                  row("deploy", 0.4, 1, 100, 200)});
    std::vector<bool> holds;
    for (const Finding& finding : report.findings) holds.push_back(finding.holds);
    return holds;
  };
  using Holds = std::vector<bool>;
  CHECK(findings(0.5, 0.51, 1e-4, 100, 200) == Holds{true, true, true, true, true});
  CHECK(findings(0.5, 0.51, 1e-4, 101, 200) == Holds{false, true, true, true, true});
  CHECK(findings(0.5, 0.51, 1e-4, 200, 200) == Holds{false, false, true, true, true});
  CHECK(findings(0.5, 0.51, 1e-4, 100, 300) == Holds{true, false, true, true, true});
  CHECK(findings(0.5, 0.51, 2e-3, 100, 200) == Holds{true, true, false, true, true});
  CHECK(findings(0.5, 0.51, std::nan(""), 100, 200) == Holds{true, true, false, true, true});
  CHECK(findings(0.29, 0.3, 1e-4, 100, 200) == Holds{true, true, true, false, true});
  CHECK(findings(0.5, 0.47, 1e-4, 100, 200) == Holds{true, true, true, true, false});
  CHECK(findings(0.5, std::nan(""), 1e-4, 100, 200) == Holds{true, true, true, true, false});
  CHECK(detection_claim().report({{{"table", "scenes"}}}).findings.empty());
}
