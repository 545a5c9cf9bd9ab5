#include "attune/optim/ema.h"

#include <algorithm>

#include "attune/core/autograd.h"
#include "tests/catch.h"
#include "tests/optim/optim_test.h"

namespace attune::test {
namespace {

using Values = std::vector<double>;

void set_values(Tensor tensor, std::uint64_t seed) {
  NoGradGuard no_grad;
  tensor.copy_(Tensor::from(random_vector<double>(tensor.count(), seed), tensor.shape()));
}

}  // namespace

TEST_CASE("Averages follow the formula, with and without warm-up") {
  for (const bool warm_up : {false, true}) {
    INFO("warm_up " << warm_up);
    Tensor w = parameter({4}, 1);
    const Tensor buffer = Tensor::ones({2}, DType::float32);  // no gradient: welcome too
    Ema ema({w, buffer}, {.decay = 0.3, .warm_up = warm_up});
    Values expected = w.to_vector<double>();
    for (std::uint64_t t = 0; t < 6; ++t) {
      set_values(w, 10 + t);
      ema.update();
      const double d =
          warm_up ? std::min(0.3, (1 + static_cast<double>(t)) / (10 + static_cast<double>(t)))
                  : 0.3;
      const Values now = w.to_vector<double>();
      for (std::size_t i = 0; i < 4; ++i) expected[i] = d * expected[i] + (1 - d) * now[i];
      CHECK(relative_error(ema.averages()[0].to_vector<double>(), expected) <= 1e-15);
    }
    CHECK(relative_error(ema.averages()[1].to_vector<double>(), Values{1, 1}) <= 1e-7);
    CHECK(ema.updates() == 6);
  }
}

TEST_CASE("Averages are swapped in and out, and copied") {
  Tensor w = parameter({4}, 1);
  Ema ema({w}, {.decay = 0.5});
  const Tensor same_elements = w.detach();
  set_values(w, 2);
  ema.update();
  const Values weights = w.to_vector<double>();
  const Values average = ema.averages()[0].to_vector<double>();
  const SavedTensor saved(w);
  ema.swap();
  CHECK(ema.swapped());
  CHECK(same_elements.to_vector<double>() == average);
  CHECK(ema.averages()[0].to_vector<double>() == weights);
  CHECK(contains(error_of([&] { saved.restore("conv2d"); }), "changed in place"));
  REQUIRE_THROWS_AS(ema.update(), Error);
  REQUIRE_THROWS_AS(ema.state(), Error);
  REQUIRE_THROWS_AS(ema.copy_to({w}), Error);
  CHECK(contains(error_of([&] { ema.load_state({}); }), "swapped in"));
  ema.swap();
  CHECK(w.to_vector<double>() == weights);
  CHECK(ema.averages()[0].to_vector<double>() == average);

  Tensor other = parameter({4}, 3);
  ema.copy_to({other});
  CHECK(other.to_vector<double>() == average);
  REQUIRE_THROWS_AS(ema.copy_to({}), Error);
  CHECK(contains(error_of([&] { ema.copy_to({parameter({5}, 1)}); }),
                 "target 0 is float64 [5] on cpu"));
}

TEST_CASE("Averages are optimizer memory") {
  const Tensor w = Tensor::zeros({10}, DType::float32, Device::meta);
  const auto bytes = [] { return memory_stats(Device::meta)[MemoryPurpose::optimizer].live; };
  const std::int64_t before = bytes();
  Ema ema({w});
  ema.update();
  ema.swap();
  CHECK(bytes() == before + 40);
}

TEST_CASE("Averaging refuses bad tensors, and those a layer has replaced") {
  Tensor w = parameter({3}, 1);
  REQUIRE_THROWS_AS(Ema({}), Error);
  REQUIRE_THROWS_AS(Ema({w}, {.decay = 1}), Error);
  REQUIRE_THROWS_AS(Ema({w}, {.decay = -0.1}), Error);
  CHECK(contains(error_of([&] {
                   Ema({w, Tensor::zeros({2}, DType::int64)});
                 }),
                 "tensor 1 is int64 [2] on cpu"));
  REQUIRE_THROWS_AS(Ema({Tensor()}), Error);
  Ema ema({w});
  w.retire();
  CHECK(contains(error_of([&] { ema.update(); }), "tensor 0 (float64 [3] on cpu) is no longer"));
  CHECK(ema.updates() == 0);
}

TEST_CASE("Averages continue bit for bit from a saved state") {
  Tensor w = parameter({4}, 1);
  const EmaOptions options{.decay = 0.9, .warm_up = true};
  Ema first({w}, options);
  for (std::uint64_t t = 0; t < 3; ++t) {
    set_values(w, 10 + t);
    first.update();
  }
  Ema second({w}, options);
  OptimizerState state = first.state();
  second.load_state(state);
  CHECK(second.updates() == 3);
  for (std::uint64_t t = 0; t < 3; ++t) {
    set_values(w, 20 + t);
    first.update();
    second.update();
  }
  const Values averages = second.averages()[0].to_vector<double>();
  CHECK(first.averages()[0].to_vector<double>() == averages);

  state.emplace_back("average1", w);
  CHECK(contains(error_of([&] { second.load_state(state); }), "unexpected entry 'average1'"));
  state = {{"updates", state.front().second}};
  CHECK(contains(error_of([&] { second.load_state(state); }), "no entry 'average0'"));
  CHECK(second.updates() == 6);
  CHECK(second.averages()[0].to_vector<double>() == averages);
}

}  // namespace attune::test
