#include "attune/kernels/gemm.h"

#include <limits>

#include "attune/kernels/reference/gemm.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_test.h"
#include "tests/test_util.h"

namespace attune::kernels {
namespace {

struct Size {
  std::int64_t m, n, k;
};

std::vector<Size> sizes() {
  std::vector<Size> all{{1, 1, 1},     {1, 40, 30},   {40, 1, 30},   {40, 30, 1},
                        {128, 10, 64}, {10, 64, 128}, {200, 70, 90}, {3, 5, 0}};
  test::Random random(1);
  for (int i = 0; i < 40; ++i) {
    all.push_back({random.integer(1, 150), random.integer(1, 40), random.integer(1, 60)});
  }
  return all;
}

template <typename T>
void check_gemm(const Size& size, bool transpose_a, bool transpose_b, bool accumulate) {
  const auto [m, n, k] = size;
  const auto a = test::random_values<T>(m * k, 1), b = test::random_values<T>(k * n, 2);
  test::Vector<T> c(static_cast<std::size_t>(m * n), std::numeric_limits<T>::quiet_NaN());
  if (accumulate) c = test::random_values<T>(m * n, 3);
  test::Vector<T> expected = c;
  gemm(test::test_device(), c.data(), a.data(), b.data(), m, n, k, transpose_a, transpose_b,
       accumulate);
  reference::gemm(expected.data(), a.data(), b.data(), m, n, k, transpose_a, transpose_b,
                  accumulate);
  CHECK(test::relative_error(c, expected) <= test::tolerance<T>());
}

TEST_CASE("reference gemm: an example by hand, in all four layouts") {
  const test::Vector<double> a{1, 2, 3, 4, 5, 6}, a_stored_transposed{1, 4, 2, 5, 3, 6};
  const test::Vector<double> b{1, 0, 2, -1, 0, 3}, b_stored_transposed{1, 2, 0, 0, -1, 3};
  // [1 2 3; 4 5 6] * [1 0; 2 -1; 0 3]
  const test::Vector<double> expected{5, 7, 14, 13};
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      test::Vector<double> c(4);
      reference::gemm(c.data(), (transpose_a ? a_stored_transposed : a).data(),
                      (transpose_b ? b_stored_transposed : b).data(), 2, 2, 3, transpose_a,
                      transpose_b);
      CHECK(c == expected);
    }
  }
}

TEST_CASE("gemm: the product is the reference's, in every layout") {
  for (const Size& size : sizes()) {
    for (int flags = 0; flags < 8; ++flags) {
      const bool transpose_a = (flags & 1) != 0, transpose_b = (flags & 2) != 0;
      const bool accumulate = (flags & 4) != 0;
      INFO(size.m << "x" << size.n << "x" << size.k << ", transposed: " << transpose_a << " "
                  << transpose_b << ", accumulate " << accumulate);
      check_gemm<float>(size, transpose_a, transpose_b, accumulate);
      check_gemm<double>(size, transpose_a, transpose_b, accumulate);
    }
  }
}

TEST_CASE("gemm: results do not depend on the number of threads") {
  for (const Size& size : sizes()) {
    const std::int64_t m = size.m, n = size.n, k = size.k;
    const auto a = test::random_values<float>(m * k, 1), b = test::random_values<float>(k * n, 2);
    test::check_same_for_any_threads<float>([&](std::vector<test::Vector<float>>& results) {
      test::Vector<float> c(static_cast<std::size_t>(m * n));
      gemm(test::test_device(), c.data(), a.data(), b.data(), m, n, k, false, false);
      results.push_back(c);
      gemm(test::test_device(), c.data(), a.data(), b.data(), m, n, k, true, true);
      results.push_back(c);
    });
  }
}

TEST_CASE("gemm: nothing happens on the meta device, and empty matrices are fine") {
  float* none = nullptr;
  gemm(Device::meta, none, none, none, 10, 10, 10, false, false);
  gemm(test::test_device(), none, none, none, 0, 10, 10, false, false);
  gemm(test::test_device(), none, none, none, 10, 0, 10, false, true);
}

}  // namespace
}  // namespace attune::kernels
