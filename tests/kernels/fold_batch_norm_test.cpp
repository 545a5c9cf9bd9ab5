#include "attune/kernels/fold_batch_norm.h"

#include <array>
#include <cmath>
#include <limits>

#include "attune/kernels/conv2d.h"
#include "attune/kernels/reference/conv2d.h"
#include "attune/kernels/reference/fold_batch_norm.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_test.h"
#include "tests/test_util.h"

namespace attune::kernels {
namespace {

/// A filter in both layouts: [K, R, S, C/groups], and [C, R, S, K/groups] of a transposed one.
FilterChannels ordinary(const Conv2dShape& s) {
  return {s.k, s.r * s.s * s.channels_per_group(), 1, 1};
}
FilterChannels transposed(const Conv2dShape& s) {
  return {s.k, s.r * s.s, s.channels_per_group(), s.filters_per_group()};
}

/// The parameters of a batch norm in every state that fold code gets wrong: a bias, means far from
/// zero, gamma negative and zero, variances from zero to large.
template <typename T>
struct Norm {
  test::Vector<T> b, gamma, beta, mean, var;
  T eps = T(1e-5);

  Norm(std::int64_t channels, std::uint64_t seed)
      : b(test::random_values<T>(channels, seed)),
        gamma(test::random_values<T>(channels, seed + 1, -2, 2)),
        beta(test::random_values<T>(channels, seed + 2)),
        mean(test::random_values<T>(channels, seed + 3, -5, 5)),
        var(test::random_values<T>(channels, seed + 4, 0.01, 30)) {
    gamma.at(1) = T(0);
    var.at(2) = T(1e-12);
    if (channels > 3) var[3] = T(0);
  }
};

struct Layout {
  const char* name;
  FilterChannels filter;
};

std::vector<Layout> layouts() {
  const auto shape = [](std::int64_t k, std::int64_t c, std::int64_t groups) {
    return make_conv2d_shape("test", {1, 9, 9, c}, {k, 3, 2, c / groups},
                             {{1, 1}, {0, 0}, {1, 1}, groups});
  };
  return {{"ordinary", ordinary(shape(8, 6, 1))},
          {"ordinary, grouped", ordinary(shape(8, 6, 2))},
          {"depthwise", ordinary(shape(6, 6, 6))},
          {"transposed", transposed(shape(8, 6, 1))},
          {"transposed, grouped", transposed(shape(8, 6, 2))}};
}

TEST_CASE("fold: FilterChannels finds the output channel of every element") {
  // Transposed, C = 4 in two groups, K = 6: rows 0 and 1 hold channels 0 to 2, rows 2 and 3 the
  // other three.
  const FilterChannels filter{4, 1, 3, 2};
  CHECK(filter.channels() == 6);
  CHECK(filter.count() == 12);
  const std::array<std::int64_t, 12> expected{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5};
  for (std::int64_t o = 0; o < 4; ++o)
    for (std::int64_t i = 0; i < 3; ++i) {
      CHECK(filter.channel(o, i) == expected.at(static_cast<std::size_t>(o * 3 + i)));
    }
}

/// z = gamma * (y - mean) / sqrt(var + eps) + beta, the definition, in place.
template <typename T>
void normalise(test::Vector<T>& y, const Norm<T>& norm) {
  const std::size_t channels = norm.gamma.size();
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t c = i % channels;
    const double scaled =
        (static_cast<double>(y[i]) - static_cast<double>(norm.mean[c])) /
        std::sqrt(static_cast<double>(norm.var[c]) + static_cast<double>(norm.eps));
    y[i] = static_cast<T>(static_cast<double>(norm.gamma[c]) * scaled +
                          static_cast<double>(norm.beta[c]));
  }
}

/// The largest error of each channel, relative to that channel's largest value.
template <typename T>
double worst_channel_error(const test::Vector<T>& actual, const test::Vector<T>& expected,
                           std::size_t channels) {
  double worst = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    test::Vector<T> mine, theirs;
    for (std::size_t i = c; i < actual.size(); i += channels) {
      mine.push_back(actual[i]);
      theirs.push_back(expected.at(i));
    }
    const double error = test::relative_error(mine, theirs);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) return error;
  }
  return worst;
}

/// Folds, convolves, and compares with convolution followed by batch norm.
template <typename T>
void check_composition(const Conv2dShape& s, bool transpose, double tolerance) {
  const FilterChannels filter = transpose ? transposed(s) : ordinary(s);
  const std::int64_t channels = filter.channels();
  const Norm<T> norm(channels, 50);
  const auto x = test::random_values<T>(transpose ? s.output_count() : s.input_count(), 1);
  const auto w = test::random_values<T>(s.filter_count(), 2);
  test::Vector<T> w_folded(w.size()), b_folded(norm.b.size());
  fold_batch_norm_forward(test::test_device(), w_folded.data(), b_folded.data(), w.data(),
                          norm.b.data(), norm.gamma.data(), norm.beta.data(), norm.mean.data(),
                          norm.var.data(), norm.eps, filter);

  const auto convolve = [&](const test::Vector<T>& weight, const test::Vector<T>& bias) {
    test::Vector<T> y(static_cast<std::size_t>(transpose ? s.input_count() : s.output_count()));
    const Conv2dEpilogue<T> epilogue{.bias = bias.data()};
    if (transpose) {
      reference::conv2d_backward_input(y.data(), x.data(), weight.data(), s, epilogue);
    } else {
      reference::conv2d_forward(y.data(), x.data(), weight.data(), s, epilogue);
    }
    return y;
  };
  test::Vector<T> expected = convolve(w, norm.b);
  normalise(expected, norm);
  const test::Vector<T> folded = convolve(w_folded, b_folded);
  CHECK(worst_channel_error(folded, expected, static_cast<std::size_t>(channels)) <= tolerance);
}

TEST_CASE("fold: one folded convolution is convolution, then batch norm") {
  for (const bool transpose : {false, true}) {
    for (const std::int64_t groups : {1, 2, 6}) {
      INFO("transposed " << transpose << ", groups " << groups);
      const Conv2dShape shape = make_conv2d_shape("test", {2, 6, 5, 12}, {18, 3, 3, 12 / groups},
                                                  {{2, 1}, {1, 1}, {1, 1}, groups});
      check_composition<double>(shape, transpose, 1e-13);
      check_composition<float>(shape, transpose, 1e-5);
    }
  }
}

/// All that a fold reads, any of which may be missing, and the sums its backward pass gets.
struct Inputs {
  FilterChannels filter;
  Norm<double> norm;
  test::Vector<double> w, dw_folded, db_folded;
  bool has_b, has_gamma, has_beta;

  Inputs(const FilterChannels& of, bool with_b, bool with_gamma, bool with_beta)
      : filter(of),
        norm(of.channels(), 60),
        w(test::random_values<double>(of.count(), 70)),
        dw_folded(test::random_values<double>(of.count(), 71)),
        db_folded(test::random_values<double>(of.channels(), 72)),
        has_b(with_b),
        has_gamma(with_gamma),
        has_beta(with_beta) {}

  const double* b() const { return has_b ? norm.b.data() : nullptr; }
  const double* gamma() const { return has_gamma ? norm.gamma.data() : nullptr; }
  const double* beta() const { return has_beta ? norm.beta.data() : nullptr; }

  /// <dw', w'> + <db', b'>: a function whose gradients are those that backward computes.
  double projected() const {
    test::Vector<double> w_folded(w.size()), b_folded(norm.b.size());
    fold_batch_norm_forward(test::test_device(), w_folded.data(), b_folded.data(), w.data(), b(),
                            gamma(), beta(), norm.mean.data(), norm.var.data(), norm.eps, filter);
    return test::dot(w_folded, dw_folded) + test::dot(b_folded, db_folded);
  }

  /// The gradient of projected() in `parameter` (one of our own vectors), by central differences,
  /// exact but for rounding: the fold is linear in each of its parameters.
  test::Vector<double> numeric_gradient(test::Vector<double>& parameter) const {
    constexpr double kStep = 0.5;
    test::Vector<double> gradient;
    for (double& value : parameter) {
      const double centre = value;
      value = centre + kStep;
      const double above = projected();
      value = centre - kStep;
      const double below = projected();
      value = centre;
      gradient.push_back((above - below) / (2 * kStep));
    }
    return gradient;
  }
};

TEST_CASE("fold: backward is the gradient of forward") {
  for (const Layout& layout : layouts()) {
    for (int missing = 0; missing < 4; ++missing) {
      INFO(layout.name << ", case " << missing);
      Inputs in(layout.filter, missing != 1, missing != 2, missing != 3);
      test::Vector<double> dw(in.w.size()), db(in.norm.b.size()), dgamma = db, dbeta = db;
      fold_batch_norm_backward(test::test_device(), dw.data(), in.has_b ? db.data() : nullptr,
                               in.has_gamma ? dgamma.data() : nullptr,
                               in.has_beta ? dbeta.data() : nullptr, in.dw_folded.data(),
                               in.db_folded.data(), in.w.data(), in.b(), in.gamma(),
                               in.norm.mean.data(), in.norm.var.data(), in.norm.eps, in.filter);
      // Rounding is relative to projected(), which 1 / sqrt(eps) makes large.
      constexpr double kTolerance = 1e-9;
      CHECK(test::relative_error(dw, in.numeric_gradient(in.w)) <= kTolerance);
      if (in.has_b) CHECK(test::relative_error(db, in.numeric_gradient(in.norm.b)) <= kTolerance);
      if (in.has_gamma) {
        CHECK(test::relative_error(dgamma, in.numeric_gradient(in.norm.gamma)) <= kTolerance);
      }
      if (in.has_beta) {
        CHECK(test::relative_error(dbeta, in.numeric_gradient(in.norm.beta)) <= kTolerance);
      }
    }
  }
}

template <typename T>
void check_against_reference(const FilterChannels& filter) {
  const Norm<T> norm(filter.channels(), 80);
  const auto w = test::random_values<T>(filter.count(), 1);
  test::Vector<T> w_folded(w.size()), b_folded(norm.b.size()), w_expected = w_folded,
                                                               b_expected = b_folded;
  fold_batch_norm_forward(test::test_device(), w_folded.data(), b_folded.data(), w.data(),
                          norm.b.data(), norm.gamma.data(), norm.beta.data(), norm.mean.data(),
                          norm.var.data(), norm.eps, filter);
  reference::fold_batch_norm_forward(w_expected.data(), b_expected.data(), w.data(), norm.b.data(),
                                     norm.gamma.data(), norm.beta.data(), norm.mean.data(),
                                     norm.var.data(), norm.eps, filter);
  CHECK(test::relative_error(w_folded, w_expected) <= test::tolerance<T>());
  CHECK(test::relative_error(b_folded, b_expected) <= test::tolerance<T>());

  // Every gradient is added to what is there.
  const auto dw_folded = test::random_values<T>(filter.count(), 2);
  const auto db_folded = test::random_values<T>(filter.channels(), 3);
  auto dw = test::random_values<T>(filter.count(), 4), dw_expected = dw;
  auto db = test::random_values<T>(filter.channels(), 5), db_expected = db;
  auto dgamma = test::random_values<T>(filter.channels(), 6), dgamma_expected = dgamma;
  auto dbeta = test::random_values<T>(filter.channels(), 7), dbeta_expected = dbeta;
  fold_batch_norm_backward(test::test_device(), dw.data(), db.data(), dgamma.data(), dbeta.data(),
                           dw_folded.data(), db_folded.data(), w.data(), norm.b.data(),
                           norm.gamma.data(), norm.mean.data(), norm.var.data(), norm.eps, filter);
  reference::fold_batch_norm_backward(
      dw_expected.data(), db_expected.data(), dgamma_expected.data(), dbeta_expected.data(),
      dw_folded.data(), db_folded.data(), w.data(), norm.b.data(), norm.gamma.data(),
      norm.mean.data(), norm.var.data(), norm.eps, filter);
  CHECK(test::relative_error(dw, dw_expected) <= test::tolerance<T>());
  CHECK(test::relative_error(db, db_expected) <= test::tolerance<T>());
  CHECK(test::relative_error(dgamma, dgamma_expected) <= test::tolerance<T>());
  CHECK(test::relative_error(dbeta, dbeta_expected) <= test::tolerance<T>());
}

TEST_CASE("fold: both passes are the reference's, in every layout") {
  for (const Layout& layout : layouts()) {
    INFO(layout.name);
    check_against_reference<float>(layout.filter);
    check_against_reference<double>(layout.filter);
  }
}

TEST_CASE("fold: dw in place of dw' is overwritten, and what is not wanted is not touched") {
  for (const Layout& layout : layouts()) {
    INFO(layout.name);
    const Inputs in(layout.filter, true, true, true);
    const auto backward = [&](double* dw, double* dgamma, const double* dw_folded) {
      fold_batch_norm_backward<double>(test::test_device(), dw, nullptr, dgamma, nullptr, dw_folded,
                                       in.db_folded.data(), in.w.data(), in.b(), in.gamma(),
                                       in.norm.mean.data(), in.norm.var.data(), in.norm.eps,
                                       in.filter);
    };
    test::Vector<double> dw(in.w.size()), dgamma(in.norm.b.size());
    backward(dw.data(), dgamma.data(), in.dw_folded.data());

    test::Vector<double> in_place = in.dw_folded, dgamma_in_place(in.norm.b.size());
    backward(in_place.data(), dgamma_in_place.data(), in_place.data());
    CHECK(in_place == dw);
    CHECK(dgamma_in_place == dgamma);

    test::Vector<double> alone(in.w.size());
    backward(alone.data(), nullptr, in.dw_folded.data());
    CHECK(alone == dw);

    test::Vector<double> db(in.norm.b.size()), dbeta = db;
    fold_batch_norm_backward<double>(test::test_device(), nullptr, db.data(), nullptr, dbeta.data(),
                                     nullptr, in.db_folded.data(), in.w.data(), in.b(), in.gamma(),
                                     in.norm.mean.data(), in.norm.var.data(), in.norm.eps,
                                     in.filter);
    CHECK(dbeta == in.db_folded);
  }
}

TEST_CASE("fold: either result alone, and missing parameters") {
  const FilterChannels filter = layouts()[0].filter;
  const Inputs in(filter, true, true, true);
  test::Vector<double> w_folded(in.w.size()), b_folded(in.norm.b.size());
  const auto fold = [&](double* w_out, double* b_out, const double* b, const double* gamma,
                        const double* beta) {
    fold_batch_norm_forward(test::test_device(), w_out, b_out, in.w.data(), b, gamma, beta,
                            in.norm.mean.data(), in.norm.var.data(), in.norm.eps, filter);
  };
  fold(w_folded.data(), b_folded.data(), in.b(), in.gamma(), in.beta());
  test::Vector<double> w_alone(in.w.size()), b_alone(in.norm.b.size());
  fold(w_alone.data(), nullptr, in.b(), in.gamma(), in.beta());
  fold(nullptr, b_alone.data(), in.b(), in.gamma(), in.beta());
  CHECK(w_alone == w_folded);
  CHECK(b_alone == b_folded);

  // A null pointer is zeros (b, beta) or ones (gamma).
  const test::Vector<double> zeros(in.norm.b.size(), 0.0), ones(in.norm.b.size(), 1.0);
  fold(w_folded.data(), b_folded.data(), zeros.data(), ones.data(), zeros.data());
  fold(w_alone.data(), b_alone.data(), nullptr, nullptr, nullptr);
  CHECK(w_alone == w_folded);
  CHECK(b_alone == b_folded);
}

TEST_CASE("fold: results do not depend on the number of threads") {
  for (const Layout& layout : layouts()) {
    INFO(layout.name);
    const Inputs in(layout.filter, true, true, true);
    test::check_same_for_any_threads<double>([&](std::vector<test::Vector<double>>& results) {
      test::Vector<double> dw(in.w.size()), db(in.norm.b.size()), dgamma = db, dbeta = db;
      fold_batch_norm_backward(test::test_device(), dw.data(), db.data(), dgamma.data(),
                               dbeta.data(), in.dw_folded.data(), in.db_folded.data(), in.w.data(),
                               in.b(), in.gamma(), in.norm.mean.data(), in.norm.var.data(),
                               in.norm.eps, in.filter);
      results = {dw, db, dgamma, dbeta};
    });
  }
}

}  // namespace
}  // namespace attune::kernels
