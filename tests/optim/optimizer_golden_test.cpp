#include <cmath>
#include <memory>

#include "attune/optim/adam.h"
#include "attune/optim/sgd.h"
#include "tests/catch.h"
#include "tests/golden.h"
#include "tests/optim/optim_test.h"

namespace attune::test {
namespace {

std::unique_ptr<Optimizer> make_optimizer(const Json& golden, std::vector<ParameterGroup> groups) {
  const Json& settings = golden.at("settings");
  const std::string kind = golden.at("kind");
  const double lr = settings.at("lr");
  const double beta1 = settings.value("beta1", 0.9), beta2 = settings.value("beta2", 0.999);
  const double eps = settings.value("eps", 1e-8);
  if (kind == "SGD") {
    return std::make_unique<Sgd>(std::move(groups),
                                 SgdOptions{.lr = lr,
                                            .momentum = settings.value("momentum", 0.0),
                                            .dampening = settings.value("dampening", 0.0),
                                            .weight_decay = settings.value("weight_decay", 0.0),
                                            .nesterov = settings.value("nesterov", false)});
  }
  if (kind == "Adam") {
    const double decay = settings.value("weight_decay", AdamOptions{}.weight_decay);
    return std::make_unique<Adam>(
        std::move(groups),
        AdamOptions{.lr = lr, .beta1 = beta1, .beta2 = beta2, .eps = eps, .weight_decay = decay});
  }
  REQUIRE(kind == "AdamW");
  const double decay = settings.value("weight_decay", AdamWOptions{}.weight_decay);
  return std::make_unique<AdamW>(
      std::move(groups),
      AdamWOptions{.lr = lr, .beta1 = beta1, .beta2 = beta2, .eps = eps, .weight_decay = decay});
}

}  // namespace

TEST_CASE("Optimizers take PyTorch's steps") {
  const Json golden = read_golden("optimizers.json");
  const std::size_t without_gradient = golden.at("without_gradient");
  for (const DType dtype : {DType::float64, DType::float32}) {
    for (const Json& one : golden.at("cases")) {
      INFO(one.at("name") << ", " << to_string(dtype));
      std::vector<Tensor> params;
      for (const Json& value : golden.at("initial")) {
        params.push_back(golden_tensor(value, dtype).set_requires_grad());
      }
      const double lr = one.at("settings").at("lr");
      const auto optimizer = make_optimizer(
          one, {{.params = {params[0]}}, {.params = {params[1]}, .lr = 2 * lr, .weight_decay = 0}});
      const Json& history = one.at("params");
      for (std::size_t step = 0; step < history.size(); ++step) {
        INFO("step " << step);
        const Json& grads = golden.at("grads").at(step);
        optimizer->zero_grad();
        params[0].set_grad(golden_tensor(grads.at(0), dtype));
        if (step != without_gradient) params[1].set_grad(golden_tensor(grads.at(1), dtype));
        optimizer->step();
        const double tolerance = dtype == DType::float64 ? 1e-14 : 1e-6;
        CHECK(golden_error(params[0], history.at(step).at(0)) <= tolerance);
        CHECK(golden_error(params[1], history.at(step).at(1)) <= tolerance);
      }
    }
  }
}

TEST_CASE("Two steps of SGD by hand") {
  Tensor w = Tensor::from(std::vector<double>{1}, {1}).set_requires_grad();
  Sgd sgd({w}, {.lr = 0.5, .momentum = 0.5, .dampening = 0.25, .weight_decay = 2});
  w.set_grad(Tensor::full({1}, 3, DType::float64));
  sgd.step();  // g = 3 + 2 = 5; v = 5, undamped; w = 1 - 2.5
  CHECK(w.item() == -1.5);
  sgd.step();  // g = 3 - 3 = 0; v = 2.5 + 0; w = -1.5 - 1.25
  CHECK(w.item() == -2.75);
}

TEST_CASE("Adam's first step is the rate times the gradient's sign") {
  // m / (1 - beta1) = g and v / (1 - beta2) = g^2, so the step is lr * g / (|g| + eps).
  Tensor w = Tensor::zeros({3}, DType::float64).set_requires_grad();
  Adam adam({w}, {.lr = 0.25, .eps = 0.125});
  w.set_grad(Tensor::from(std::vector<double>{2, -0.5, 0}, {3}));
  adam.step();
  const std::vector<double> expected{-0.25 * 2 / 2.125, 0.25 * 0.5 / 0.625, 0};
  CHECK(relative_error(w.to_vector<double>(), expected) <= 1e-14);
}

TEST_CASE("Decoupled weight decay shrinks in proportion, Adam's own passes through the moments") {
  for (const double grad : {0.0, 1.0}) {
    Tensor decoupled = Tensor::ones({1}, DType::float64).set_requires_grad();
    Tensor coupled = Tensor::ones({1}, DType::float64).set_requires_grad();
    for (Tensor w : {decoupled, coupled}) w.set_grad(Tensor::full({1}, grad, DType::float64));
    AdamW({decoupled}, {.lr = 0.125, .eps = 1e-14, .weight_decay = 0.5}).step();
    Adam({coupled}, {.lr = 0.125, .eps = 1e-14, .weight_decay = 0.5}).step();
    CHECK(std::abs(decoupled.item() - (1 - 0.125 * 0.5 - 0.125 * grad)) <= 1e-13);
    // The first step is the rate times the sign of grad + 0.5 w, however large either is.
    CHECK(std::abs(coupled.item() - (1 - 0.125)) <= 1e-13);
  }
}

}  // namespace attune::test
