#include "attune/kernels/optimizer_step.h"

#include <limits>

#include "attune/kernels/reference/optimizer_step.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

constexpr int kSteps = 3;

SgdSettings make_sgd(double momentum, double dampening, double weight_decay, bool nesterov) {
  SgdSettings settings;
  settings.lr = 0.1;
  settings.momentum = momentum;
  settings.dampening = dampening;
  settings.weight_decay = weight_decay;
  settings.nesterov = nesterov;
  return settings;
}

AdamSettings make_adam(double weight_decay, bool decoupled) {
  AdamSettings settings;
  settings.lr = 0.01;
  settings.weight_decay = weight_decay;
  settings.decoupled = decoupled;
  return settings;
}

const std::vector<SgdSettings> kSgd{make_sgd(0, 0, 0, false), make_sgd(0.9, 0, 5e-4, false),
                                    make_sgd(0.9, 0.3, 0.1, false), make_sgd(0.9, 0, 0.1, true)};
const std::vector<AdamSettings> kAdam{make_adam(0, false), make_adam(0.1, false),
                                      make_adam(0.1, true)};

// Weights, two state vectors and a gradient for every step.
template <typename T>
struct State {
  explicit State(std::int64_t count)
      : w(random_values<T>(count, 1)), m(w.size(), T(0)), v(w.size(), T(0)) {
    for (std::uint64_t step = 0; step < kSteps; ++step) {
      gradients.push_back(random_values<T>(count, 10 + step));
    }
  }
  std::int64_t count() const { return static_cast<std::int64_t>(w.size()); }

  Vector<T> w, m, v;
  std::vector<Vector<T>> gradients;
};

template <typename T>
void run_sgd(bool reference, State<T>& state, SgdSettings settings, bool with_velocity = true) {
  T* velocity = with_velocity ? state.m.data() : nullptr;
  for (int step = 0; step < kSteps; ++step) {
    settings.first_step = step == 0;
    const T* gradient = state.gradients[static_cast<std::size_t>(step)].data();
    if (reference) {
      reference::sgd_step(state.w.data(), velocity, gradient, state.count(), settings);
    } else {
      const SgdTensor<T> tensor{state.w.data(), velocity, gradient, state.count()};
      sgd_step<T>(test_device(), {&tensor, 1}, settings);
    }
  }
}

template <typename T>
void run_adam(bool reference, State<T>& state, AdamSettings settings) {
  for (int step = 0; step < kSteps; ++step) {
    settings.step = step + 1;
    const T* gradient = state.gradients[static_cast<std::size_t>(step)].data();
    if (reference) {
      reference::adam_step(state.w.data(), state.m.data(), state.v.data(), gradient, state.count(),
                           settings);
    } else {
      const AdamTensor<T> tensor{state.w.data(), state.m.data(), state.v.data(), gradient,
                                 state.count()};
      adam_step<T>(test_device(), {&tensor, 1}, settings);
    }
  }
}

template <typename T>
void check_same(const State<T>& actual, const State<T>& expected) {
  CHECK(relative_error(actual.w, expected.w) <= kTolerance<T>);
  CHECK(relative_error(actual.m, expected.m) <= kTolerance<T>);
  CHECK(relative_error(actual.v, expected.v) <= kTolerance<T>);
}

template <typename T>
void check_against_reference(std::int64_t count) {
  for (const SgdSettings& settings : kSgd) {
    State<T> actual(count), expected(count);
    run_sgd(false, actual, settings);
    run_sgd(true, expected, settings);
    check_same(actual, expected);
  }
  State<T> actual_plain(count), expected_plain(count);
  run_sgd(false, actual_plain, make_sgd(0, 0, 0.1, false), false);
  run_sgd(true, expected_plain, make_sgd(0, 0, 0.1, false), false);
  check_same(actual_plain, expected_plain);
  for (const AdamSettings& settings : kAdam) {
    State<T> actual(count), expected(count);
    run_adam(false, actual, settings);
    run_adam(true, expected, settings);
    check_same(actual, expected);
  }
  Vector<T> average = random_values<T>(count, 1), expected = average;
  const Vector<T> w = random_values<T>(count, 2);
  ema_step(test_device(), average.data(), w.data(), count, 0.99);
  reference::ema_step(expected.data(), w.data(), count, 0.99);
  CHECK(relative_error(average, expected) <= kTolerance<T>);
}

}  // namespace

TEST_CASE("reference SGD follows its recurrence written out") {
  const double lr = 0.1, decay = 0.1;
  State<double> state(1);
  const double w0 = state.w[0], g0 = state.gradients[0][0], g1 = state.gradients[1][0],
               g2 = state.gradients[2][0];

  SECTION("plain, with weight decay") {
    run_sgd(true, state, make_sgd(0, 0, decay, false), false);
    const double w1 = w0 * (1 - lr * decay) - lr * g0;
    const double w2 = w1 * (1 - lr * decay) - lr * g1;
    CHECK(std::abs(state.w[0] - (w2 * (1 - lr * decay) - lr * g2)) <= 1e-15);
  }
  SECTION("momentum: each gradient acts again, weakened, in every later step") {
    run_sgd(true, state, make_sgd(0.5, 0, 0, false));
    CHECK(std::abs(state.w[0] - (w0 - lr * (1.75 * g0 + 1.5 * g1 + g2))) <= 1e-15);
    CHECK(std::abs(state.m[0] - (0.25 * g0 + 0.5 * g1 + g2)) <= 1e-15);
  }
  SECTION("dampening spares the first gradient") {
    run_sgd(true, state, make_sgd(0.5, 0.2, 0, false));
    CHECK(std::abs(state.w[0] - (w0 - lr * (1.75 * g0 + 0.8 * (1.5 * g1 + g2)))) <= 1e-15);
  }
  SECTION("Nesterov looks one step ahead") {
    run_sgd(true, state, make_sgd(0.5, 0, 0, true));
    CHECK(std::abs(state.w[0] - (w0 - lr * (1.875 * g0 + 1.75 * g1 + 1.5 * g2))) <= 1e-15);
  }
}

TEST_CASE("reference Adam follows its algorithm written out") {
  const double lr = 0.01, decay = 0.1;
  for (const bool decoupled : {false, true}) {
    State<double> state(1);
    double w = state.w[0], m = 0, v = 0, power1 = 1, power2 = 1;
    for (const Vector<double>& gradient : state.gradients) {
      const double g = decoupled ? gradient[0] : gradient[0] + decay * w;
      m += 0.1 * (g - m);
      v += 0.001 * (g * g - v);
      power1 *= 0.9;
      power2 *= 0.999;
      const double shrunk = decoupled ? w * (1 - lr * decay) : w;
      w = shrunk - lr * m / (1 - power1) / (std::sqrt(v / (1 - power2)) + 1e-8);
    }
    run_adam(true, state, make_adam(decay, decoupled));
    CHECK(std::abs(state.w[0] - w) <= 1e-14);
    CHECK(std::abs(state.m[0] - m) <= 1e-15);
    CHECK(std::abs(state.v[0] - v) <= 1e-15);
  }
}

TEST_CASE("Adam's first step is lr in the direction of the gradient, whatever its size") {
  Vector<float> w{1, 1, 1}, m(3), v(3);
  const Vector<float> gradient{1e-3F, -10, 0};
  AdamSettings settings = make_adam(0, false);
  const AdamTensor<float> tensor{w.data(), m.data(), v.data(), gradient.data(), 3};
  adam_step<float>(test_device(), {&tensor, 1}, settings);
  CHECK(relative_error(w, {0.99F, 1.01F, 1.0F}) <= 1e-6);
}

TEST_CASE("reference ema_step is the definition") {
  Vector<double> average{1, 2};
  const Vector<double> w{3, -2};
  reference::ema_step(average.data(), w.data(), 2, 0.75);
  CHECK(average == Vector<double>{1.5, 1});
}

TEST_CASE("optimizer steps agree with the reference") {
  for (const std::int64_t count : {0, 3, 7, 64, 40003}) {
    INFO("count " << count);
    check_against_reference<float>(count);
    check_against_reference<double>(count);
  }
}

TEST_CASE("a step of many tensors has the bits of a step of each") {
  // Enough for several launches on a GPU, and for several blocks; one tensor is empty.
  std::vector<State<float>> together, alone;
  for (std::int64_t i = 0; i < 150; ++i) {
    together.emplace_back(i == 70 ? 0 : i == 20 ? 20001 : i + 1);
    alone.push_back(together.back());
  }
  const auto check_equal = [&] {
    for (std::size_t i = 0; i < alone.size(); ++i) {
      INFO("tensor " << i);
      CHECK(same_bits(together[i].w, alone[i].w));
      CHECK(same_bits(together[i].m, alone[i].m));
      CHECK(same_bits(together[i].v, alone[i].v));
    }
  };
  SECTION("SGD") {
    for (std::size_t number = 0; number < kSteps; ++number) {
      std::vector<SgdTensor<float>> tensors;
      for (State<float>& state : together) {
        tensors.push_back(
            {state.w.data(), state.m.data(), state.gradients[number].data(), state.count()});
      }
      SgdSettings settings = kSgd[3];
      settings.first_step = number == 0;
      sgd_step<float>(test_device(), tensors, settings);
    }
    for (State<float>& state : alone) run_sgd(false, state, kSgd[3]);
    check_equal();
  }
  SECTION("Adam") {
    for (std::size_t number = 0; number < kSteps; ++number) {
      std::vector<AdamTensor<float>> tensors;
      for (State<float>& state : together) {
        tensors.push_back({state.w.data(), state.m.data(), state.v.data(),
                           state.gradients[number].data(), state.count()});
      }
      AdamSettings settings = kAdam[2];
      settings.step = static_cast<std::int64_t>(number) + 1;
      adam_step<float>(test_device(), tensors, settings);
    }
    for (State<float>& state : alone) run_adam(false, state, kAdam[2]);
    check_equal();
  }
}

TEST_CASE("the first SGD step does not read the velocity") {
  Vector<float> w(9, 1.0F), velocity(9, std::numeric_limits<float>::quiet_NaN());
  const Vector<float> gradient(9, 2.0F);
  SgdSettings settings = make_sgd(0.9, 0.5, 0, false);
  settings.first_step = true;
  const SgdTensor<float> tensor{w.data(), velocity.data(), gradient.data(), 9};
  sgd_step<float>(test_device(), {&tensor, 1}, settings);
  CHECK(velocity == gradient);
  CHECK(relative_error(w, Vector<float>(9, 0.8F)) <= 1e-7);
}

TEST_CASE("optimizer steps do not depend on the number of threads") {
  CHECK(independent_of_threads([] {
    State<float> state(100003);
    run_sgd(false, state, kSgd[3]);
    run_adam(false, state, kAdam[2]);
    return state.w;
  }));
}
