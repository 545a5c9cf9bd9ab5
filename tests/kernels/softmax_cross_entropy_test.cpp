#include "attune/kernels/softmax_cross_entropy.h"

#include <limits>

#include "attune/kernels/reference/softmax_cross_entropy.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

Vector<std::int64_t> random_targets(std::int64_t rows, std::int64_t classes) {
  Random random(11);
  Vector<std::int64_t> targets;
  for (std::int64_t i = 0; i < rows; ++i) targets.push_back(random.integer(0, classes - 1));
  return targets;
}

// Loss and gradient, in a form that reference and kernel fill alike.
template <typename T>
struct Result {
  Vector<T> loss, log_sum_exp, dlogits;
};

template <typename T>
Result<T> run(bool reference, const Vector<T>& logits, const Vector<std::int64_t>& targets,
              T smoothing, T loss_gradient = 1) {
  const Vector<T> dloss{loss_gradient};
  const auto rows = static_cast<std::int64_t>(targets.size());
  const std::int64_t classes = static_cast<std::int64_t>(logits.size()) / rows;
  Result<T> result{Vector<T>(1), Vector<T>(targets.size()), Vector<T>(logits.size())};
  if (reference) {
    reference::softmax_cross_entropy_forward(result.loss.data(), result.log_sum_exp.data(),
                                             logits.data(), targets.data(), rows, classes,
                                             smoothing);
    reference::softmax_cross_entropy_backward(result.dlogits.data(), dloss.data(), logits.data(),
                                              result.log_sum_exp.data(), targets.data(), rows,
                                              classes, smoothing, false);
  } else {
    softmax_cross_entropy_forward(test_device(), result.loss.data(), result.log_sum_exp.data(),
                                  logits.data(), targets.data(), rows, classes, smoothing);
    softmax_cross_entropy_backward(test_device(), result.dlogits.data(), dloss.data(),
                                   logits.data(), result.log_sum_exp.data(), targets.data(), rows,
                                   classes, smoothing);
  }
  return result;
}

template <typename T>
void check_against_reference(std::int64_t rows, std::int64_t classes, T smoothing, double scale) {
  const Vector<T> logits = random_values<T>(rows * classes, 1, -scale, scale);
  const Vector<std::int64_t> targets = random_targets(rows, classes);
  const Result<T> expected = run<T>(true, logits, targets, smoothing, T(0.7));
  Result<T> actual = run<T>(false, logits, targets, smoothing, T(0.7));
  CHECK(relative_error(actual.loss, expected.loss) <= kTolerance<T>);
  CHECK(relative_error(actual.log_sum_exp, expected.log_sum_exp) <= kTolerance<T>);
  // Relative to the largest element there can be, since gradients may all be close to zero.
  Vector<T> difference = actual.dlogits;
  double error = 0;
  for (std::size_t i = 0; i < difference.size(); ++i) {
    error = std::max(error, std::abs(static_cast<double>(difference[i]) -
                                     static_cast<double>(expected.dlogits[i])));
  }
  CHECK(error * static_cast<double>(rows) <= kTolerance<T>);

  const Vector<T> before = random_values<T>(rows * classes, 2);
  Vector<T> accumulated = before;
  const Vector<T> dloss{T(0.7)};
  softmax_cross_entropy_backward(test_device(), accumulated.data(), dloss.data(), logits.data(),
                                 actual.log_sum_exp.data(), targets.data(), rows, classes,
                                 smoothing, true);
  for (std::size_t i = 0; i < before.size(); ++i) difference[i] = before[i] + actual.dlogits[i];
  CHECK(relative_error(accumulated, difference) <= kTolerance<T>);
}

}  // namespace

TEST_CASE("reference softmax cross-entropy is the definition") {
  const std::int64_t rows = 6, classes = 5;
  const Vector<double> logits = random_values<double>(rows * classes, 1, -3, 3);
  const Vector<std::int64_t> targets = random_targets(rows, classes);
  for (const double smoothing : {0.0, 0.1}) {
    double loss = 0;
    Vector<double> log_sum_exp;
    for (std::size_t i = 0; i < 6; ++i) {
      double sum = 0;
      for (std::size_t k = 0; k < 5; ++k) sum += std::exp(logits[i * 5 + k]);
      log_sum_exp.push_back(std::log(sum));
      for (std::size_t k = 0; k < 5; ++k) {
        const bool is_target = static_cast<std::int64_t>(k) == targets[i];
        const double q = (1 - smoothing) * (is_target ? 1 : 0) + smoothing / 5;
        loss -= q * std::log(std::exp(logits[i * 5 + k]) / sum) / 6;
      }
    }
    const Result<double> result = run(true, logits, targets, smoothing);
    CHECK(std::abs(result.loss[0] - loss) <= 1e-14 * loss);
    CHECK(relative_error(result.log_sum_exp, log_sum_exp) <= 1e-15);
  }
}

TEST_CASE("reference softmax cross-entropy gradient is that of finite differences") {
  const Vector<double> logits = random_values<double>(4 * 5, 1, -3, 3);
  const Vector<std::int64_t> targets = random_targets(4, 5);
  for (const double smoothing : {0.0, 0.1}) {
    const Result<double> result = run(true, logits, targets, smoothing, -1.3);
    const auto loss = [&](const Vector<double>& x) {
      return run(true, x, targets, smoothing).loss;
    };
    CHECK(relative_error(result.dlogits, numerical_gradient(logits, {-1.3}, loss)) <= 1e-8);
  }
}

TEST_CASE("softmax cross-entropy agrees with the reference") {
  for (const std::int64_t rows : {1, 2, 33, 500})
    for (const std::int64_t classes : {1, 2, 10, 101})
      for (const double smoothing : {0.0, 0.1, 1.0}) {
        INFO(rows << " rows, " << classes << " classes, smoothing " << smoothing);
        check_against_reference<float>(rows, classes, static_cast<float>(smoothing), 3);
        check_against_reference<double>(rows, classes, smoothing, 3);
      }
}

TEST_CASE("softmax cross-entropy keeps its digits for large logits") {
  check_against_reference<float>(20, 10, 0.1F, 1e4);
  check_against_reference<double>(20, 10, 0.1, 1e4);

  // Adding a constant to a row changes nothing but log_sum_exp. These logits are exact in float.
  const Vector<std::int64_t> targets = random_targets(8, 10);
  Vector<float> logits = random_values<float>(80, 1, -2048, 2048);
  for (float& logit : logits) logit = std::floor(logit) / 1024;
  const Result<float> small = run(false, logits, targets, 0.1F);
  for (float& logit : logits) logit += 10000;
  const Result<float> large = run(false, logits, targets, 0.1F);
  CHECK(relative_error(large.loss, small.loss) <= 2e-7);
  CHECK(relative_error(large.dlogits, small.dlogits) <= 2e-6);
}

TEST_CASE("the gradient of every row sums to zero and vanishes at the targets' distribution") {
  const Vector<double> logits = random_values<double>(50, 1, -3, 3);
  const Result<double> result = run(false, logits, random_targets(5, 10), 0.1);
  for (std::size_t i = 0; i < 5; ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < 10; ++k) sum += result.dlogits[i * 10 + k];
    CHECK(std::abs(sum) <= 1e-15);
  }
  const Vector<double> perfect{std::log(0.925), std::log(0.025), std::log(0.025), std::log(0.025)};
  for (const double gradient : run<double>(false, perfect, {0}, 0.1).dlogits) {
    CHECK(std::abs(gradient) <= 1e-15);
  }
}

TEST_CASE("softmax cross-entropy passes NaN on") {
  Vector<float> logits(20, 1.0F);
  logits[13] = std::numeric_limits<float>::quiet_NaN();
  for (const bool reference : {false, true}) {
    const Result<float> result = run(reference, logits, {0, 1}, 0.0F);
    CHECK(std::isnan(result.loss[0]));
    CHECK(std::isnan(result.dlogits[10]));
    CHECK(!std::isnan(result.dlogits[0]));
  }
}

TEST_CASE("softmax cross-entropy does not depend on the number of threads") {
  const Vector<float> logits = random_values<float>(3001 * 10, 1, -5, 5);
  const Vector<std::int64_t> targets = random_targets(3001, 10);
  CHECK(independent_of_threads([&] {
    Result<float> result = run(false, logits, targets, 0.1F);
    result.dlogits.push_back(result.loss[0]);
    return result.dlogits;
  }));
}
