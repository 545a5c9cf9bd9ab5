#include "attune/kernels/batch_norm.h"

#include <limits>

#include "attune/kernels/cpu/batch_norm.h"
#include "attune/kernels/reference/batch_norm.h"
#include "tests/catch.h"
#include "tests/kernels/oracle.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::test;

namespace {

struct Size {
  std::int64_t pixels, channels;
  std::int64_t count() const { return pixels * channels; }
};

// One pixel, one channel, fewer and more channels than a row has elements, several ranges and
// slices of work, and nothing that is a multiple of anything.
const std::vector<Size> kSizes{{1, 1},     {1, 16},    {2, 3},    {7, 5},    {49, 64},
                               {33, 128},  {31, 129},  {13, 300}, {5003, 3}, {4099, 16},
                               {20011, 1}, {2003, 67}, {1, 70001}};

// Everything that the kernels read, for one size.
template <typename T>
struct Problem {
  explicit Problem(Size size_in)
      : size(size_in),
        y(random_values<T>(size.count(), 1, -2, 3)),
        dz(random_values<T>(size.count(), 2)),
        residual(random_values<T>(size.count(), 3)),
        mean(random_values<T>(size.channels, 4)),
        rstd(random_values<T>(size.channels, 5, 0.5, 2)),
        gamma(random_values<T>(size.channels, 6, -2, 2)),
        beta(random_values<T>(size.channels, 7)),
        sum_dz(random_values<T>(size.channels, 8)),
        sum_dz_yhat(random_values<T>(size.channels, 9)) {}

  Size size;
  Vector<T> y, dz, residual, mean, rstd, gamma, beta, sum_dz, sum_dz_yhat;
};

template <typename T>
Vector<T> channels_of(Size size) {
  return Vector<T>(static_cast<std::size_t>(size.channels));
}

template <typename T>
void check_statistics(Size size) {
  const Vector<T> y = random_values<T>(size.count(), 1, -2, 3);
  Vector<T> mean = channels_of<T>(size), var = mean, expected_mean = mean, expected_var = mean;
  batch_norm_statistics(test_device(), mean.data(), var.data(), y.data(), size.pixels,
                        size.channels);
  reference::batch_norm_statistics(expected_mean.data(), expected_var.data(), y.data(), size.pixels,
                                   size.channels);
  CHECK(relative_error(mean, expected_mean) <= kTolerance<T>);
  CHECK(relative_error(var, expected_var) <= kTolerance<T>);
}

template <typename T>
void check_forward(Size size) {
  const Problem<T> p(size);
  Vector<T> z(p.y.size()), expected(p.y.size());
  for (const bool affine : {false, true})
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        INFO("affine " << affine << ", residual " << residual << ", relu " << relu);
        const T* gamma = affine ? p.gamma.data() : nullptr;
        const T* beta = affine ? p.beta.data() : nullptr;
        const T* added = residual ? p.residual.data() : nullptr;
        batch_norm_forward(test_device(), z.data(), p.y.data(), p.mean.data(), p.rstd.data(), gamma,
                           beta, added, relu, size.pixels, size.channels);
        reference::batch_norm_forward(expected.data(), p.y.data(), p.mean.data(), p.rstd.data(),
                                      gamma, beta, added, relu, size.pixels, size.channels);
        CHECK(relative_error(z, expected) <= kTolerance<T>);

        Vector<T> in_place = p.y;
        batch_norm_forward(test_device(), in_place.data(), in_place.data(), p.mean.data(),
                           p.rstd.data(), gamma, beta, added, relu, size.pixels, size.channels);
        CHECK(same_bits(in_place, z));
      }
}

template <typename T>
void check_backward(Size size) {
  const Problem<T> p(size);
  const std::int64_t pixels = size.pixels, channels = size.channels;

  Vector<T> sum = channels_of<T>(size), product = sum, sum_alone = sum;
  Vector<T> expected_sum = sum, expected_product = sum;
  batch_norm_backward_reduce(test_device(), sum.data(), product.data(), p.dz.data(), p.y.data(),
                             p.mean.data(), p.rstd.data(), pixels, channels);
  reference::batch_norm_backward_reduce(expected_sum.data(), expected_product.data(), p.dz.data(),
                                        p.y.data(), p.mean.data(), p.rstd.data(), pixels, channels);
  CHECK(relative_error(sum, expected_sum) <= kTolerance<T>);
  CHECK(relative_error(product, expected_product) <= kTolerance<T>);
  const T* none = nullptr;
  batch_norm_backward_reduce(test_device(), sum_alone.data(), static_cast<T*>(nullptr), p.dz.data(),
                             none, none, none, pixels, channels);
  CHECK(same_bits(sum_alone, sum));

  for (const bool affine : {false, true}) {
    const T* gamma = affine ? p.gamma.data() : nullptr;
    Vector<T> dy(p.y.size()), expected(p.y.size());
    batch_norm_backward_train(test_device(), dy.data(), p.dz.data(), p.y.data(), p.mean.data(),
                              p.rstd.data(), gamma, p.sum_dz.data(), p.sum_dz_yhat.data(), pixels,
                              channels);
    reference::batch_norm_backward_train(expected.data(), p.dz.data(), p.y.data(), p.mean.data(),
                                         p.rstd.data(), gamma, p.sum_dz.data(),
                                         p.sum_dz_yhat.data(), pixels, channels);
    CHECK(relative_error(dy, expected) <= kTolerance<T>);
    Vector<T> in_place = p.dz;
    batch_norm_backward_train(test_device(), in_place.data(), in_place.data(), p.y.data(),
                              p.mean.data(), p.rstd.data(), gamma, p.sum_dz.data(),
                              p.sum_dz_yhat.data(), pixels, channels);
    CHECK(same_bits(in_place, dy));

    batch_norm_backward_eval(test_device(), dy.data(), p.dz.data(), p.rstd.data(), gamma, pixels,
                             channels);
    reference::batch_norm_backward_eval(expected.data(), p.dz.data(), p.rstd.data(), gamma, pixels,
                                        channels);
    CHECK(relative_error(dy, expected) <= kTolerance<T>);
    in_place = p.dz;
    batch_norm_backward_eval(test_device(), in_place.data(), in_place.data(), p.rstd.data(), gamma,
                             pixels, channels);
    CHECK(same_bits(in_place, dy));
  }
}

// z = BN(y) in Train mode, put together from the reference kernels.
Vector<double> reference_train(const Vector<double>& y, const Vector<double>& gamma,
                               const Vector<double>& beta, Size size) {
  Vector<double> mean = channels_of<double>(size), var = mean, rstd = mean, z(y.size());
  reference::batch_norm_statistics(mean.data(), var.data(), y.data(), size.pixels, size.channels);
  reference::batch_norm_rstd(rstd.data(), var.data(), size.channels, 1e-3);
  reference::batch_norm_forward<double>(z.data(), y.data(), mean.data(), rstd.data(), gamma.data(),
                                        beta.data(), nullptr, false, size.pixels, size.channels);
  return z;
}

}  // namespace

TEST_CASE("reference batch-norm statistics are those of 0, 1, ..., n - 1 in every channel") {
  constexpr std::int64_t kPixels = 101, kChannels = 3;
  Vector<double> y, mean(kChannels), var(kChannels);
  for (std::int64_t p = 0; p < kPixels; ++p)
    for (std::int64_t c = 0; c < kChannels; ++c) {
      y.push_back(static_cast<double>((c + 1) * p));
    }
  reference::batch_norm_statistics(mean.data(), var.data(), y.data(), kPixels, kChannels);
  for (std::size_t c = 0; c < kChannels; ++c) {
    const auto factor = static_cast<double>(c + 1);
    CHECK(std::abs(mean[c] - factor * 50) <= 1e-12);
    CHECK(std::abs(var[c] - factor * factor * (101. * 101. - 1) / 12) <= 1e-9);
  }
}

TEST_CASE("batch-norm statistics agree with the reference") {
  for (const Size size : kSizes) {
    INFO(size.pixels << " pixels, " << size.channels << " channels");
    check_statistics<float>(size);
    check_statistics<double>(size);
  }
}

TEST_CASE("batch-norm statistics keep their digits where the mean dwarfs sigma") {
  const Size size{30011, 5};
  Vector<float> y = random_values<float>(size.count(), 1, 1000 - 2e-3, 1000 + 2e-3);
  const Vector<double> exact(y.begin(), y.end());
  Vector<double> exact_mean = channels_of<double>(size), exact_var = exact_mean;
  reference::batch_norm_statistics(exact_mean.data(), exact_var.data(), exact.data(), size.pixels,
                                   size.channels);
  Vector<float> mean = channels_of<float>(size), var = mean;
  batch_norm_statistics(test_device(), mean.data(), var.data(), y.data(), size.pixels,
                        size.channels);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    CHECK(std::abs(static_cast<double>(mean[c]) - exact_mean[c]) <= 6.2e-5 / 2);  // half a float
    CHECK(std::abs(static_cast<double>(var[c]) / exact_var[c] - 1) <= 1e-7);
    CHECK(std::sqrt(exact_var[c]) <= 2e-3);
  }
}

TEST_CASE("batch-norm statistics of a sample shifted as it goes are right") {
  // The pixels of each slice and block have a mean of their own: merging them is put to the test.
  const Size size{60000, 2};
  Vector<double> y = random_values<double>(size.count(), 1);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += 1e-3 * static_cast<double>(i);
  Vector<double> mean = channels_of<double>(size), var = mean, expected_mean = mean,
                 expected_var = mean;
  batch_norm_statistics(test_device(), mean.data(), var.data(), y.data(), size.pixels,
                        size.channels);
  reference::batch_norm_statistics(expected_mean.data(), expected_var.data(), y.data(), size.pixels,
                                   size.channels);
  CHECK(relative_error(mean, expected_mean) <= 1e-13);
  CHECK(relative_error(var, expected_var) <= 1e-13);
}

TEST_CASE("batch-norm statistics of a constant, of an outlier first, and of NaN") {
  const auto statistics = [](const Vector<float>& y) {
    Vector<float> result(2);
    batch_norm_statistics(test_device(), result.data(), result.data() + 1, y.data(),
                          static_cast<std::int64_t>(y.size()), 1);
    return result;
  };
  CHECK(statistics(Vector<float>(5000, 0.1F)) == Vector<float>{0.1F, 0});

  Vector<float> y = random_values<float>(5000, 1);
  y[0] = 1e6F;
  Vector<double> expected(2);
  const Vector<double> exact(y.begin(), y.end());
  reference::batch_norm_statistics(expected.data(), expected.data() + 1, exact.data(), 5000, 1);
  const Vector<float> actual = statistics(y);
  CHECK(std::abs(static_cast<double>(actual[0]) / expected[0] - 1) <= 1e-7);
  CHECK(std::abs(static_cast<double>(actual[1]) / expected[1] - 1) <= 1e-7);

  y[4321] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(statistics(y)[0]));
  CHECK(std::isnan(statistics(y)[1]));
}

TEST_CASE("running statistics move by momentum and take the unbiased variance") {
  const Vector<float> mean{2, -1}, var{3, 0.5F};
  Vector<float> running_mean{0, 1}, running_var{1, 1};
  Vector<float> expected_mean = running_mean, expected_var = running_var;
  batch_norm_update_running(test_device(), running_mean.data(), running_var.data(), mean.data(),
                            var.data(), 4, 2, 0.25F);
  reference::batch_norm_update_running(expected_mean.data(), expected_var.data(), mean.data(),
                                       var.data(), 4, 2, 0.25F);
  CHECK(running_mean == Vector<float>{0.5F, 0.5F});
  CHECK(relative_error(running_var, {1.75F, 0.75F + 0.25F * 0.5F * 4 / 3}) <= 1e-7);
  CHECK(relative_error(running_mean, expected_mean) <= 1e-7);
  CHECK(relative_error(running_var, expected_var) <= 1e-7);

  batch_norm_update_running(test_device(), running_mean.data(), running_var.data(), mean.data(),
                            var.data(), 4, 2, 1.0F);
  CHECK(running_mean == mean);
}

TEST_CASE("rstd is one over the root of var + eps") {
  const Vector<double> var{3, 0.0, 0.5};
  Vector<double> rstd(3), expected(3);
  batch_norm_rstd(test_device(), rstd.data(), var.data(), 3, 1.0);
  reference::batch_norm_rstd(expected.data(), var.data(), 3, 1.0);
  CHECK(relative_error(rstd, {0.5, 1.0, std::sqrt(2.0 / 3.0)}) <= 1e-15);
  CHECK(same_bits(rstd, expected));
}

TEST_CASE("batch-norm forward agrees with the reference") {
  for (const Size size : kSizes) {
    INFO(size.pixels << " pixels, " << size.channels << " channels");
    check_forward<float>(size);
    check_forward<double>(size);
  }
}

TEST_CASE("batch-norm forward keeps its digits where the mean dwarfs sigma") {
  const Size size{1000, 16};
  const Vector<float> y = random_values<float>(size.count(), 1, 999, 1001);
  const Vector<float> mean(16, 1000.3F), rstd(16, 1.7F), gamma(16, 0.9F), beta(16, 0.2F);
  Vector<float> z(y.size());
  batch_norm_forward<float>(test_device(), z.data(), y.data(), mean.data(), rstd.data(),
                            gamma.data(), beta.data(), nullptr, false, size.pixels, size.channels);
  double error = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double yhat = (double{y[i]} - double{mean[0]}) * double{rstd[0]};
    const double exact = yhat * double{gamma[0]} + double{beta[0]};
    error = std::max(error, std::abs(double{z[i]} - exact));
  }
  CHECK(error <= 1e-6);
}

TEST_CASE("batch-norm forward passes NaN through its ReLU") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Vector<float> y{nan, -1, 2}, mean{0}, rstd{1};
  Vector<float> z(3);
  batch_norm_forward<float>(test_device(), z.data(), y.data(), mean.data(), rstd.data(), nullptr,
                            nullptr, nullptr, true, 3, 1);
  CHECK(std::isnan(z[0]));
  CHECK(z[1] == 0);
  CHECK(z[2] == 2);
  reference::batch_norm_forward<float>(z.data(), y.data(), mean.data(), rstd.data(), nullptr,
                                       nullptr, nullptr, true, 3, 1);
  CHECK(std::isnan(z[0]));
}

TEST_CASE("batch-norm backward kernels agree with the reference") {
  for (const Size size : kSizes) {
    INFO(size.pixels << " pixels, " << size.channels << " channels");
    check_backward<float>(size);
    check_backward<double>(size);
  }
}

TEST_CASE("reference batch-norm gradients in Train mode are those of finite differences") {
  const Size size{9, 4};
  const Problem<double> p(size);
  Vector<double> mean = channels_of<double>(size), var = mean, rstd = mean;
  reference::batch_norm_statistics(mean.data(), var.data(), p.y.data(), size.pixels, size.channels);
  reference::batch_norm_rstd(rstd.data(), var.data(), size.channels, 1e-3);
  Vector<double> dbeta = mean, dgamma = mean, dy(p.y.size());
  reference::batch_norm_backward_reduce(dbeta.data(), dgamma.data(), p.dz.data(), p.y.data(),
                                        mean.data(), rstd.data(), size.pixels, size.channels);
  reference::batch_norm_backward_train(dy.data(), p.dz.data(), p.y.data(), mean.data(), rstd.data(),
                                       p.gamma.data(), dbeta.data(), dgamma.data(), size.pixels,
                                       size.channels);

  using Vector = Vector<double>;
  CHECK(relative_error(dy, numerical_gradient(p.y, p.dz, [&](const Vector& y) {
                         return reference_train(y, p.gamma, p.beta, size);
                       })) <= 1e-8);
  CHECK(relative_error(dgamma, numerical_gradient(p.gamma, p.dz, [&](const Vector& gamma) {
                         return reference_train(p.y, gamma, p.beta, size);
                       })) <= 1e-8);
  CHECK(relative_error(dbeta, numerical_gradient(p.beta, p.dz, [&](const Vector& beta) {
                         return reference_train(p.y, p.gamma, beta, size);
                       })) <= 1e-8);
}

TEST_CASE("reference batch-norm gradients in Eval mode are those of finite differences") {
  const Size size{9, 4};
  const Problem<double> p(size);
  Vector<double> dy(p.y.size());
  reference::batch_norm_backward_eval(dy.data(), p.dz.data(), p.rstd.data(), p.gamma.data(),
                                      size.pixels, size.channels);
  const auto forward = [&](const Vector<double>& y) {
    Vector<double> z(y.size());
    reference::batch_norm_forward<double>(z.data(), y.data(), p.mean.data(), p.rstd.data(),
                                          p.gamma.data(), p.beta.data(), nullptr, false,
                                          size.pixels, size.channels);
    return z;
  };
  CHECK(relative_error(dy, numerical_gradient(p.y, p.dz, forward)) <= 1e-8);
}

TEST_CASE("batch norm does not depend on the number of threads") {
  for (const Size size : {Size{20011, 17}, Size{3001, 200}}) {
    const Problem<float> p(size);
    CHECK(independent_of_threads([&] {
      Vector<float> statistics(static_cast<std::size_t>(4 * size.channels));
      float* out = statistics.data();
      cpu::batch_norm_statistics(out, out + size.channels, p.y.data(), size.pixels, size.channels);
      cpu::batch_norm_backward_reduce(out + 2 * size.channels, out + 3 * size.channels, p.dz.data(),
                                      p.y.data(), p.mean.data(), p.rstd.data(), size.pixels,
                                      size.channels);
      return statistics;
    }));
    CHECK(independent_of_threads([&] {
      Vector<float> z(p.y.size());
      cpu::batch_norm_forward(z.data(), p.y.data(), p.mean.data(), p.rstd.data(), p.gamma.data(),
                              p.beta.data(), p.residual.data(), true, size.pixels, size.channels);
      return z;
    }));
    CHECK(independent_of_threads([&] {
      Vector<float> dy(p.y.size());
      cpu::batch_norm_backward_train(dy.data(), p.dz.data(), p.y.data(), p.mean.data(),
                                     p.rstd.data(), p.gamma.data(), p.sum_dz.data(),
                                     p.sum_dz_yhat.data(), size.pixels, size.channels);
      return dy;
    }));
  }
}
