#include "compare_modes/comparison.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "attune/core/ops/arithmetic.h"
#include "attune/core/ops/reduce.h"
#include "attune/layers/linear.h"
#include "attune/optim/sgd.h"
#include "compare_modes/results.h"
#include "tests/catch.h"
#include "tests/examples/xml_check.h"

using namespace attune;
using namespace attune::examples;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

ModeResult result(Mode mode, std::vector<double> loss) {
  ModeResult made;
  made.mode = mode;
  made.loss = std::move(loss);
  made.milliseconds.assign(made.loss.size(), 10);
  made.memory = {mode == Mode::eval ? 200 : 100, 400};
  made.accuracy_before = 0.25;
  made.accuracy_after = 0.5;
  return made;
}

Comparison comparison() {
  Comparison made{.target = "B", .pretrained = {.source = "A"}};
  made.pretrained.squared_scales = {0, 1e-9, 0.1, 1, 1e9};
  made.modes = {result(Mode::eval, {4, 2, 1}), result(Mode::tune, {4, 2.002, 1.5}),
                result(Mode::deploy, {4, 8, kNan})};
  made.modes[2].diverged = true;
  made.modes[2].accuracy_after = kNan;
  return made;
}

}  // namespace

TEST_CASE("the difference of two runs is the largest one") {
  const Comparison compared = comparison();
  const ModeResult& eval = *compared.find(Mode::eval);
  const ModeResult& tune = *compared.find(Mode::tune);
  CHECK(std::abs(largest_loss_difference(tune, eval) - 0.5) <= 1e-12);
  CHECK(std::abs(largest_loss_difference(tune, eval, 2) - 1e-3) <= 1e-12);
  CHECK(largest_loss_difference(tune, eval, 1) == 0);
  CHECK(std::isnan(largest_loss_difference(*compared.find(Mode::deploy), eval)));
  CHECK(std::isnan(largest_loss_difference(result(Mode::tune, {}), eval)));
  CHECK(compared.find(Mode::train) == nullptr);
}

TEST_CASE("a comparison becomes a table, JSON and a page") {
  const Comparison compared = comparison();
  const CompareOptions options;
  const std::string text = to_text(compared, options);
  CHECK(text.find("diverged") != std::string::npos);
  CHECK(text.find("0.50") != std::string::npos);  // Tune's saved bytes, relative to Eval's
  const nlohmann::json json = to_json(compared, options);
  CHECK(json["modes"]["tune"]["saved_bytes"] == 100);
  CHECK(json["modes"]["tune"]["accuracy_after"] == 0.5);
  CHECK(json["modes"]["deploy"]["loss"].dump() == "[4.0,8.0,null]");
  CHECK(json["tune_against_eval"]["loss_difference"].get<double>() > 0.49);
  CHECK(test::xml_error(to_html(compared, options)) == "");
}

TEST_CASE("a comparison without Eval or without steps can be shown too") {
  Comparison compared = comparison();
  compared.modes = {result(Mode::tune, {1, 2})};
  const CompareOptions options;
  CHECK(to_text(compared, options).find("Tune against Eval") == std::string::npos);
  CHECK(test::xml_error(to_html(compared, options)) == "");
  compared.modes = {result(Mode::eval, {}), result(Mode::tune, {})};
  compared.interrupted = true;
  CHECK(test::xml_error(to_html(compared, options)) == "");
  CHECK(to_text(compared, options).find("nan") == std::string::npos);
  CHECK(to_json(compared, options)["modes"]["eval"]["ms"].is_null());
}

TEST_CASE("modes are also compared with gamma and beta fixed") {
  const CompareOptions options{
      .run = {.limit = 16, .batch_size = 8, .use_double = true, .progress = ProgressStyle::off},
      .pretrain_epochs = 0,
      .steps = 2,
      .lr = 1e-4,
      .modes = {Mode::eval},
      .fixed_affine_modes = {Mode::eval, Mode::tune}};
  const Transfer transfer = open_transfer(options.run);
  const Comparison compared = fine_tune(pretrain(transfer, options), transfer.target, options,
                                        [](std::int64_t, const ModeResult&, const StepResult&) {});
  REQUIRE(compared.modes.size() == 3);
  const ModeResult &eval = compared.modes[0], &fixed = compared.modes[1], &tune = compared.modes[2];
  CHECK_FALSE(eval.fixed_affine);
  CHECK((fixed.fixed_affine && fixed.mode == Mode::eval));
  CHECK((tune.fixed_affine && tune.mode == Mode::tune));
  CHECK(compared.find(Mode::eval) == &eval);
  // Without gamma's gradient Eval has no use for the convolution's output.
  CHECK(fixed.memory.saved_bytes < eval.memory.saved_bytes);
  CHECK(fixed.memory.saved_bytes == tune.memory.saved_bytes);
  CHECK(fixed.loss[0] == eval.loss[0]);
  CHECK(fixed.loss[1] != eval.loss[1]);
  CHECK(largest_loss_difference(tune, fixed) <= 1e-9);
}

TEST_CASE("contenders take turns, each first once, until they diverge") {
  // The loss is the sum of the weights, or no number in the third step of the second network.
  std::vector<Contender> contenders;
  for (const Mode mode : {Mode::eval, Mode::tune, Mode::deploy}) {
    const auto net = std::make_shared<Linear>(Linear::Options{.in_features = 2, .out_features = 1});
    contenders.push_back(make_contender(
        {.mode = mode}, net, std::make_unique<Sgd>(net->parameters(), SgdOptions{.lr = 0.5})));
  }
  const Module* const second = contenders[1].net.get();
  std::vector<std::pair<std::int64_t, Mode>> turns;
  for (std::int64_t step = 0; step < 4; ++step) {
    const LossFunction loss = [&](Module& net) {
      const bool bad = step == 2 && &net == second;
      return sum(net.parameters()[0]) * (bad ? kNan : 1.0);
    };
    step_in_turn(
        contenders, step, 0.5, [&](TrainingStep& next) { return next.run(loss); },
        [&](std::int64_t at, const ModeResult& result, const StepResult&) {
          turns.emplace_back(at, result.mode);
        });
  }
  const auto e = Mode::eval, t = Mode::tune, d = Mode::deploy;
  CHECK(
      turns ==
      std::vector<std::pair<std::int64_t, Mode>>{
          {0, e}, {0, t}, {0, d}, {1, t}, {1, d}, {1, e}, {2, d}, {2, e}, {2, t}, {3, e}, {3, d}});
  CHECK(contenders[1].result.diverged);
  CHECK_FALSE(all_diverged(contenders));
  const std::vector<double>& losses = contenders[0].result.loss;
  REQUIRE(losses.size() == 4);
  CHECK(contenders[0].result.milliseconds.size() == 4);
  CHECK(std::abs(losses[0] - losses[3] - 3 * 2 * 0.25) <= 1e-5);  // two weights, rate 1/2 times 1/2
  for (Contender& contender : contenders) contender.result.diverged = true;
  CHECK(all_diverged(contenders));
}
