#include "attune/optim/optimizer.h"

#include <functional>
#include <limits>
#include <memory>

#include "attune/core/autograd.h"
#include "attune/optim/adam.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/optim/optim_test.h"

namespace attune::test {
namespace {

using Values = std::vector<double>;
using Make = std::function<std::unique_ptr<Optimizer>(std::vector<ParameterGroup>)>;

struct Kind {
  std::string name;
  Make make;
};

// One of each kind whose state matters.
std::vector<Kind> kinds() {
  return {
      {"Sgd",
       [](std::vector<ParameterGroup> groups) -> std::unique_ptr<Optimizer> {
         return std::make_unique<Sgd>(
             std::move(groups),
             SgdOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true});
       }},
      {"Adam",
       [](std::vector<ParameterGroup> groups) -> std::unique_ptr<Optimizer> {
         return std::make_unique<Adam>(std::move(groups), AdamOptions{.lr = 0.02});
       }},
      {"AdamW",
       [](std::vector<ParameterGroup> groups) -> std::unique_ptr<Optimizer> {
         return std::make_unique<AdamW>(std::move(groups), AdamWOptions{.lr = 0.02});
       }},
  };
}

Tensor find(const OptimizerState& state, const std::string& name) {
  for (const auto& [entry, tensor] : state) {
    if (entry == name) return tensor;
  }
  return {};
}

OptimizerState cloned(const OptimizerState& state) {
  OptimizerState copy;
  for (const auto& [name, tensor] : state) copy.emplace_back(name, tensor.clone());
  return copy;
}

}  // namespace

TEST_CASE("An optimizer refuses bad parameters and settings") {
  const Tensor w = parameter({2, 3}, 1);
  const Tensor plain = Tensor::zeros({4});
  const SgdOptions options{.lr = 0.1};

  CHECK(contains(error_of([&] {
                   Sgd({w, plain}, options);
                 }),
                 "Sgd: group0.param1 (float32 [4] on cpu) does not require a gradient"));
  CHECK(contains(error_of([&] { Sgd({Tensor()}, options); }), "group0.param0 (an undefined"));
  CHECK(contains(error_of([&] {
                   Sgd({{.params = {w}}, {.params = {w}}}, options);
                 }),
                 "group1.param0 (float64 [2, 3] on cpu) is listed twice"));
  CHECK(contains(error_of([&] { Sgd(std::vector<Tensor>{}, options); }), "no parameters"));
  CHECK(contains(error_of([&] { Adam(std::vector<ParameterGroup>(2)); }),
                 "Adam: there are no parameters"));
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = -1}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = std::numeric_limits<double>::quiet_NaN()}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.momentum = 0.9}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = 0.1, .momentum = 1}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = 0.1, .dampening = -0.1}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = 0.1, .weight_decay = -1}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = 0.1, .nesterov = true}), Error);
  REQUIRE_THROWS_AS(Sgd({w}, {.lr = 0.1, .momentum = 0.9, .dampening = 0.1, .nesterov = true}),
                    Error);
  REQUIRE_THROWS_AS(Sgd({{.params = {w}, .lr = -0.1}}, options), Error);
  REQUIRE_THROWS_AS(Sgd({{.params = {w}, .weight_decay = -0.1}}, options), Error);
  REQUIRE_THROWS_AS(Adam({w}, {.beta1 = 1}), Error);
  REQUIRE_THROWS_AS(Adam({w}, {.beta2 = -0.1}), Error);
  REQUIRE_THROWS_AS(AdamW({w}, {.eps = -1}), Error);
}

TEST_CASE("Only leaves can be parameters") {
  struct Identity : Node {
    Identity() : Node("identity") {}
    void backward(Tensor grad) override { add_grad(0, std::move(grad)); }
  };
  const Tensor x = parameter({2}, 1);
  Tensor y = x.clone();
  record<Identity>(y, x);
  CHECK(contains(error_of([&] { Sgd({y}, {.lr = 0.1}); }), "was computed by 'identity'"));
}

TEST_CASE("Groups have their own learning rate and weight decay") {
  const Tensor a = Tensor::from(Values{1, 2}, {2}).set_requires_grad();
  const Tensor b = Tensor::from(Values{1, 2}, {2}).set_requires_grad();
  Sgd sgd({{.params = {a}}, {.params = {b}, .lr = 1, .weight_decay = 0}},
          {.lr = 0.5, .weight_decay = 0.25});
  CHECK(sgd.group_count() == 2);
  CHECK(sgd.lr(0) == 0.5);
  CHECK(sgd.weight_decay(0) == 0.25);
  CHECK(sgd.lr(1) == 1);
  CHECK(sgd.weight_decay(1) == 0);
  for (Tensor param : {a, b}) param.set_grad(Tensor::from(Values{1, -1}, {2}));
  sgd.step();
  CHECK(a.to_vector<double>() == Values{1 - 0.5 * 1.25, 2 - 0.5 * -0.5});
  CHECK(b.to_vector<double>() == Values{0, 3});

  SECTION("a factor is relative to each group's base rate") {
    sgd.set_lr_factor(0.5);
    sgd.set_lr_factor(0.1);
    CHECK(sgd.lr(0) == 0.1 * 0.5);
    CHECK(sgd.lr(1) == 0.1);
    sgd.set_lr(7, 1);
    CHECK(sgd.lr(1) == 7);
    CHECK(sgd.base_lr(1) == 1);
    REQUIRE_THROWS_AS(sgd.set_lr_factor(-1), Error);
    REQUIRE_THROWS_AS(sgd.set_lr(std::numeric_limits<double>::infinity()), Error);
    CHECK(contains(error_of([&] { sgd.set_lr(1, 2); }), "no group 2"));
  }
}

TEST_CASE("Parameters without a gradient are left alone") {
  for (const Kind& kind : kinds()) {
    INFO(kind.name);
    Tensor a = parameter({3}, 1), b = parameter({3}, 2), c = parameter({3}, 3);
    const auto optimizer = kind.make({{.params = {a, b, c}}});
    const Values b_before = b.to_vector<double>(), c_before = c.to_vector<double>();
    set_random_grad(a, 4);
    set_random_grad(c, 5);
    c.set_requires_grad(false);
    optimizer->step();
    CHECK(b.to_vector<double>() == b_before);
    CHECK(c.to_vector<double>() == c_before);
    CHECK(find(optimizer->state(), "group0.param0.steps").defined());
    CHECK(!find(optimizer->state(), "group0.param1.steps").defined());
    CHECK(!find(optimizer->state(), "group0.param2.steps").defined());
    optimizer->zero_grad();
    CHECK(!a.grad().defined());
    CHECK(!c.grad().defined());
  }
}

TEST_CASE("An update counts as a change of the parameter") {
  Tensor w = parameter({3}, 1);
  set_random_grad(w, 2);
  const SavedTensor saved(w);
  Sgd({w}, {.lr = 0.1}).step();
  CHECK(contains(error_of([&] { saved.restore("conv2d"); }), "changed in place"));
}

TEST_CASE("Nothing is updated once a layer has replaced a parameter") {
  for (const Kind& kind : kinds()) {
    INFO(kind.name);
    Tensor a = parameter({3}, 1), b = parameter({2, 5}, 2);
    const auto optimizer = kind.make({{.params = {a}}, {.params = {b}}});
    set_random_grad(a, 3);
    const Values before = a.to_vector<double>();
    b.retire();
    b.set_requires_grad(false);  // which must not hide it
    const std::string message = error_of([&] { optimizer->step(); });
    INFO(message);
    CHECK(contains(message, kind.name + ": step: group1.param0 (float64 [2, 5] on cpu)"));
    CHECK(contains(message, "deploy()"));
    CHECK(contains(message, "build a new optimizer"));
    CHECK(a.to_vector<double>() == before);
    CHECK(contains(error_of([&] { kind.make({{.params = {b}}}); }), "build a new optimizer"));
  }
}

TEST_CASE("State is made on the first step, as optimizer memory on the parameter's device") {
  for (const Device device : {test_device(), Device::meta}) {
    INFO(to_string(device));
    Tensor w = Tensor::zeros({10, 3}, DType::float32, device).set_requires_grad();
    Tensor unused = Tensor::zeros({7}, DType::float32, device).set_requires_grad();
    w.set_grad(Tensor::zeros({10, 3}, DType::float32, device));
    const auto bytes = [&] { return memory_stats(device)[MemoryPurpose::optimizer].live; };
    const std::int64_t before = bytes();
    {
      Adam adam({w, unused});
      Sgd momentum({w, unused}, {.lr = 0.1, .momentum = 0.9});
      Sgd plain({w, unused}, {.lr = 0.1});
      CHECK(bytes() == before);
      plain.step();
      CHECK(bytes() == before);
      momentum.step();
      CHECK(bytes() == before + 30 * 4);
      adam.step();
      adam.step();
      CHECK(bytes() == before + 3 * 30 * 4);
    }
    CHECK(bytes() == before);
  }
}

TEST_CASE("A loaded state continues bit for bit") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const Kind& kind : kinds()) {
      INFO(kind.name << ", " << to_string(dtype));
      std::vector<Tensor> live{parameter({4, 3}, 1, dtype), parameter({5}, 2, dtype)};
      std::vector<Tensor> resumed{live[0].clone(), live[1].clone()};
      for (Tensor& param : resumed) param.set_requires_grad();
      const auto groups = [](const std::vector<Tensor>& params) {
        return std::vector<ParameterGroup>{{.params = {params[0]}},
                                           {.params = {params[1]}, .lr = 0.03}};
      };
      const auto first = kind.make(groups(live));
      for (std::uint64_t step = 0; step < 3; ++step) {
        set_random_grad(live[0], 10 + step);
        if (step > 0) set_random_grad(live[1], 20 + step);  // its count of steps lags behind
        first->step();
      }
      first->set_lr_factor(0.7);
      const auto second = kind.make(groups(resumed));
      const OptimizerState saved = cloned(first->state());
      second->load_state(saved);
      for (std::size_t i = 0; i < 2; ++i) {
        NoGradGuard no_grad;
        resumed[i].copy_(live[i]);
      }
      CHECK(second->lr(1) == first->lr(1));
      CHECK(find(second->state(), "group1.param0.steps").to_vector<std::int64_t>() ==
            std::vector<std::int64_t>{2});
      for (std::uint64_t step = 0; step < 3; ++step) {
        for (std::size_t i = 0; i < 2; ++i) {
          set_random_grad(live[i], 30 + step);
          set_random_grad(resumed[i], 30 + step);
        }
        first->step();
        second->step();
      }
      for (std::size_t i = 0; i < 2; ++i) {
        CHECK(live[i].to_vector<double>() == resumed[i].to_vector<double>());
      }
      // The saved tensors were copied, not adopted.
      second->load_state(saved);
      const std::string moment = kind.name == "Sgd" ? "velocity" : "m";
      CHECK(find(second->state(), "group0.param0." + moment).to_vector<double>() !=
            find(first->state(), "group0.param0." + moment).to_vector<double>());
    }
  }
}

TEST_CASE("A state that does not fit is refused as a whole") {
  for (const Kind& kind : kinds()) {
    INFO(kind.name);
    const std::string moment = kind.name == "Sgd" ? "velocity" : "v";
    Tensor a = parameter({3}, 1), b = parameter({2}, 2);
    const auto optimizer = kind.make({{.params = {a, b}}});
    for (Tensor param : {a, b}) set_random_grad(param, 3);
    optimizer->step();
    const OptimizerState good = cloned(optimizer->state());
    optimizer->set_lr(0.77);
    optimizer->step();
    const OptimizerState before = cloned(optimizer->state());

    // Applies `change` to each entry (which it may drop by returning false), adds `more`, loads.
    const auto refusal = [&](const std::function<bool(std::string&, Tensor&)>& change,
                             const OptimizerState& more = {}) {
      OptimizerState changed;
      for (auto [name, tensor] : cloned(good)) {
        if (change(name, tensor)) changed.emplace_back(name, tensor);
      }
      changed.insert(changed.end(), more.begin(), more.end());
      std::string message = error_of([&] { optimizer->load_state(changed); });
      const OptimizerState after = optimizer->state();
      REQUIRE(after.size() == before.size());
      for (std::size_t i = 0; i < after.size(); ++i) {
        CHECK(after[i].second.to_vector<double>() == before[i].second.to_vector<double>());
      }
      return message;
    };
    const auto keep = [](std::string&, Tensor&) { return true; };
    const auto drop = [](const std::string& wanted) {
      return [wanted](std::string& name, Tensor&) { return name != wanted; };
    };
    const auto replace = [](const std::string& wanted, const Tensor& value) {
      return [wanted, value](std::string& name, Tensor& tensor) {
        if (name == wanted) tensor = value;
        return true;
      };
    };
    const std::string last = "group0.param1." + moment;
    CHECK(contains(refusal(drop(last)), "load_state: the state has no entry '" + last + "'"));
    CHECK(contains(refusal(drop("group0.lr")), "no entry 'group0.lr'"));
    CHECK(contains(refusal(drop("group0.param1.steps")), "unexpected entry 'group0.param1."));
    CHECK(contains(refusal(keep, {{"group1.lr", Tensor::scalar(1, DType::float64)}}),
                   "unexpected entry 'group1.lr'"));
    CHECK(contains(refusal(keep, {{last, Tensor::zeros({2})}}), "two entries"));
    CHECK(contains(refusal(replace(last, Tensor::zeros({3}, DType::float64))),
                   "is float64 [3] on cpu, but must be float64 [2]"));
    CHECK(contains(refusal(replace(last, Tensor::zeros({2}, DType::float32))), "must be float64"));
    CHECK(contains(refusal(replace(last, Tensor())), "undefined"));
    CHECK(contains(refusal(replace("group0.lr", Tensor::scalar(-1, DType::float64))), "lr is -1"));
    CHECK(contains(
        refusal(replace("group0.param1.steps", Tensor::from(std::vector<std::int64_t>{0}, {}))),
        "must be at least 1"));
  }
}

TEST_CASE("Optimizers minimise a quadratic") {
  // f(w) = sum of c_i (w_i - t_i)^2 / 2, with curvatures from 0.1 to 5.
  const Values curvature{0.1, 0.5, 1, 5}, target{1, -2, 0.5, 3};
  struct Case {
    std::string name;
    std::function<std::unique_ptr<Optimizer>(const Tensor&)> make;
    int steps;
  };
  const std::vector<Case> cases{
      {"Sgd",
       [](const Tensor& w) {
         return std::make_unique<Sgd>(std::vector<Tensor>{w}, SgdOptions{.lr = 0.3});
       },
       600},
      {"Sgd, momentum",
       [](const Tensor& w) {
         return std::make_unique<Sgd>(std::vector<Tensor>{w},
                                      SgdOptions{.lr = 0.1, .momentum = 0.8});
       },
       400},
      {"Sgd, nesterov",
       [](const Tensor& w) {
         return std::make_unique<Sgd>(std::vector<Tensor>{w},
                                      SgdOptions{.lr = 0.1, .momentum = 0.8, .nesterov = true});
       },
       400},
      {"Adam",
       [](const Tensor& w) {
         return std::make_unique<Adam>(std::vector<Tensor>{w}, AdamOptions{.lr = 0.1});
       },
       1000},
      {"AdamW",
       [](const Tensor& w) {
         return std::make_unique<AdamW>(std::vector<Tensor>{w},
                                        AdamWOptions{.lr = 0.1, .weight_decay = 0});
       },
       1000},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    Tensor w = Tensor::zeros({4}, DType::float64).set_requires_grad();
    const auto optimizer = one.make(w);
    for (int step = 0; step < one.steps; ++step) {
      Values grad = w.to_vector<double>();
      for (std::size_t i = 0; i < 4; ++i) grad[i] = curvature[i] * (grad[i] - target[i]);
      w.set_grad(Tensor::from(grad, {4}));
      optimizer->step();
    }
    CHECK(relative_error(w.to_vector<double>(), target) <= 1e-4);
  }
}

}  // namespace attune::test
