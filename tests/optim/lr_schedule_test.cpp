#include "attune/optim/lr_schedule.h"

#include <cmath>
#include <limits>
#include <map>

#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/golden.h"
#include "tests/optim/optim_test.h"

namespace attune::test {

TEST_CASE("Schedules give PyTorch's rates") {
  const std::map<std::string, LrSchedule> schedules{
      {"StepLr(4, 0.3)", StepLr(4, 0.3)},
      {"MultiStepLr({3, 5, 11}, 0.2)", MultiStepLr({3, 5, 11}, 0.2)},
      {"CosineLr(12)", CosineLr(12)},
      {"CosineLr(12, 0.1)", CosineLr(12, 0.1)},
      {"OneCycleLr(20)", OneCycleLr(20)},
      {"OneCycleLr(17, {0.25, 10, 100})",
       OneCycleLr(17, {.warm_up = 0.25, .div_factor = 10, .final_div_factor = 100})},
      {"LinearWarmup(5, CosineLr(10), 0.2)", LinearWarmup(5, CosineLr(10), 0.2)},
  };
  const Json golden = read_golden("schedules.json").at("schedules");
  REQUIRE(golden.size() == schedules.size());
  for (const auto& [name, schedule] : schedules) {
    INFO(name);
    const auto expected = golden.at(name).get<std::vector<double>>();
    std::vector<double> actual;
    for (std::size_t step = 0; step < expected.size(); ++step) {
      actual.push_back(schedule(static_cast<std::int64_t>(step)));
    }
    CHECK(relative_error(actual, expected) <= 1e-14);
    REQUIRE_THROWS_AS(schedule(-1), Error);
  }
}

TEST_CASE("Schedules stay at their end") {
  CHECK(CosineLr(10, 0.25)(10) == 0.25);
  CHECK(CosineLr(10, 0.25)(1000) == 0.25);
  const OneCycleLr one_cycle(10, {.div_factor = 10, .final_div_factor = 100});
  CHECK(std::abs(one_cycle(9) - 1e-3) <= 1e-15);
  CHECK(one_cycle(1000) == one_cycle(9));
  CHECK(one_cycle(2) == 1);
}

TEST_CASE("A warm-up rises linearly to what follows") {
  const LrSchedule schedule = LinearWarmup(4, MultiStepLr({2}, 0.5), 0.5);
  const std::vector<double> expected{0.5, 0.625, 0.75, 0.875, 1, 1, 0.5};
  for (std::size_t step = 0; step < expected.size(); ++step) {
    CHECK(schedule(static_cast<std::int64_t>(step)) == expected[step]);
  }
  // Any function is a schedule.
  CHECK(LinearWarmup(2, [](std::int64_t step) { return 1.0 / (1.0 + double(step)); })(3) == 0.5);
}

TEST_CASE("A schedule drives an optimizer") {
  const Tensor a = parameter({1}, 1), b = parameter({1}, 2);
  Sgd sgd({{.params = {a}}, {.params = {b}, .lr = 2}}, {.lr = 0.5});
  const StepLr schedule(2, 0.5);
  for (std::int64_t step = 0; step < 6; ++step) {
    sgd.set_lr_factor(schedule(step));
    const double factor = step < 2 ? 1 : step < 4 ? 0.5 : 0.25;
    CHECK(sgd.lr(0) == 0.5 * factor);
    CHECK(sgd.lr(1) == 2 * factor);
  }
}

TEST_CASE("Schedules refuse bad arguments") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(error_of([] { StepLr(0); }), "StepLr: period is 0, but must be positive"));
  REQUIRE_THROWS_AS(StepLr(3, -0.1), Error);
  REQUIRE_THROWS_AS(StepLr(3, nan), Error);
  REQUIRE_THROWS_AS(MultiStepLr({0, 3}), Error);
  REQUIRE_THROWS_AS(MultiStepLr({3, 3}), Error);
  REQUIRE_THROWS_AS(MultiStepLr({5, 3}), Error);
  REQUIRE_THROWS_AS(MultiStepLr({5}, 0), Error);
  REQUIRE_THROWS_AS(CosineLr(0), Error);
  REQUIRE_THROWS_AS(CosineLr(10, -0.1), Error);
  REQUIRE_THROWS_AS(CosineLr(10, nan), Error);
  REQUIRE_THROWS_AS(OneCycleLr(0), Error);
  REQUIRE_THROWS_AS(OneCycleLr(10, {.warm_up = 1}), Error);
  REQUIRE_THROWS_AS(OneCycleLr(10, {.div_factor = 0.5}), Error);
  REQUIRE_THROWS_AS(OneCycleLr(10, {.final_div_factor = nan}), Error);
  CHECK(contains(error_of([] { OneCycleLr(3, {.warm_up = 0.3}); }), "more than one step"));
  REQUIRE_THROWS_AS(LinearWarmup(0, StepLr(1)), Error);
  REQUIRE_THROWS_AS(LinearWarmup(1, StepLr(1), 0), Error);
  REQUIRE_THROWS_AS(LinearWarmup(1, StepLr(1), 1.5), Error);
  REQUIRE_THROWS_AS(LinearWarmup(1, nullptr), Error);
  REQUIRE_THROWS_AS(ReduceOnPlateau({.gamma = 1}), Error);
  REQUIRE_THROWS_AS(ReduceOnPlateau({.patience = -1}), Error);
  REQUIRE_THROWS_AS(ReduceOnPlateau({.cooldown = -1}), Error);
  REQUIRE_THROWS_AS(ReduceOnPlateau({.threshold = -1}), Error);
  REQUIRE_THROWS_AS(ReduceOnPlateau({.min_factor = 2}), Error);
}

TEST_CASE("ReduceOnPlateau decides as PyTorch does, also after a resume") {
  const Json golden = read_golden("schedules.json");
  const auto metrics = golden.at("metrics").get<std::vector<double>>();
  for (const Json& one : golden.at("plateaus")) {
    const Json& settings = one.at("settings");
    INFO(settings);
    const ReduceOnPlateauOptions options{
        .maximize = settings.at("mode") == "max",
        .gamma = settings.at("factor"),
        .patience = settings.at("patience"),
        .cooldown = settings.value("cooldown", 0),
        .threshold = settings.value("threshold", 1e-4),
        .absolute_threshold = settings.value("threshold_mode", "rel") == "abs",
        .min_factor = settings.at("min_factor")};
    const auto expected = one.at("factors").get<std::vector<double>>();
    ReduceOnPlateau plateau(options);
    std::vector<double> actual;
    for (const double metric : metrics) {
      ReduceOnPlateau resumed(options);
      resumed.load_state(plateau.state());
      actual.push_back(resumed.observe(metric));
      plateau = resumed;
    }
    CHECK(relative_error(actual, expected) <= 1e-14);
  }
}

TEST_CASE("NaN never counts as an improvement") {
  ReduceOnPlateau plateau({.gamma = 0.5, .patience = 1});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(plateau.observe(nan) == 1);
  CHECK(plateau.observe(3) == 1);
  CHECK(plateau.observe(nan) == 1);
  CHECK(plateau.observe(nan) == 0.5);
  CHECK(plateau.state().best == 3);
}

}  // namespace attune::test
