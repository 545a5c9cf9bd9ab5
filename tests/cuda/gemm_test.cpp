// The project's own matrix product; tests/kernels has those of whatever gemm() uses.

#include "attune/kernels/cuda/gemm.h"

#include <array>
#include <cstdint>
#include <vector>

#include "attune/core/tensor.h"
#include "attune/kernels/cuda/backend.h"
#include "attune/kernels/reference/gemm.h"
#include "tests/catch.h"
#include "tests/test_util.h"

namespace attune::kernels {
namespace {

// m, n, k: one element, less than a tile, several tiles, no products at all.
constexpr std::array<std::array<std::int64_t, 3>, 5> kSizes{
    {{1, 1, 1}, {3, 5, 7}, {70, 130, 40}, {64, 64, 16}, {4, 3, 0}}};

template <typename T>
void check_simt_gemm(double tolerance) {
  for (const auto& [m, n, k] : kSizes) {
    for (int flags = 0; flags < 8; ++flags) {
      const bool transpose_a = (flags & 1) != 0, transpose_b = (flags & 2) != 0;
      const bool accumulate = (flags & 4) != 0;
      INFO(m << "x" << n << "x" << k << ", flags " << flags);
      const auto a = test::random_vector<T>(m * k, 1), b = test::random_vector<T>(k * n, 2);
      std::vector<T> expected = test::random_vector<T>(m * n, 3);
      const Tensor left = Tensor::from(a, {m * k}, Device::cuda(0));
      const Tensor right = Tensor::from(b, {k * n}, Device::cuda(0));
      Tensor product = Tensor::from(expected, {m * n}, Device::cuda(0));
      cuda::use_device(0, "test");
      cuda::simt_gemm(product.mutable_data<T>(), left.data<T>(), right.data<T>(), m, n, k,
                      transpose_a, transpose_b, accumulate);
      reference::gemm(expected.data(), a.data(), b.data(), m, n, k, transpose_a, transpose_b,
                      accumulate);
      CHECK(test::relative_error(product.to_vector<T>(), expected) <= tolerance);
    }
  }
}

TEST_CASE("simt gemm: the product is the reference's, in every layout") {
  check_simt_gemm<float>(5e-6);
  check_simt_gemm<double>(1e-14);
}

}  // namespace
}  // namespace attune::kernels
